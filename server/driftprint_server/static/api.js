// Requests to the server. Whoever is not logged in is sent to the log-in page.

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let csrf = "";
export const setCsrf = (token) => (csrf = token ?? "");

export function toLogin() {
  const here = location.pathname + location.hash;
  location.assign(`/login?next=${encodeURIComponent(here)}`);
}

async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  const isFile = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = isFile ? "application/octet-stream" : "application/json";
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  const answer = await fetch(path, { method, headers, body: isFile ? body : JSON.stringify(body) });
  if (answer.status === 401) {
    toLogin();
    throw new Refused(401, "You are not logged in.");
  }
  const json = answer.status !== 204 && (answer.headers.get("Content-Type") ?? "").includes("json");
  const told = json ? await answer.json() : null;
  if (!answer.ok) throw new Refused(answer.status, told?.detail ?? `The server says ${answer.status}.`);
  return told;
}

export const get = (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return call("GET", given.length ? `${path}?${new URLSearchParams(given)}` : path);
};
export const post = (path, body) => call("POST", path, body); // a file as it is, all else as JSON
export const put = (path, body) => call("PUT", path, body);
export const remove = (path, body) => call("DELETE", path, body);

// What a server may not have: null where it has it not.
export async function getIfThere(path, query) {
  try {
    return await get(path, query);
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}
