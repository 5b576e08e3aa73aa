// Logs in, and goes where the reader wanted to go.

const form = document.getElementById("form");
const button = document.getElementById("button");
const problem = document.getElementById("problem");
const password = document.getElementById("password");

/** The page that was asked for: a path on this server and nothing else. */
function wanted() {
  const next = new URLSearchParams(location.search).get("next") ?? "/";
  try {
    const url = new URL(next, location.origin);
    if (url.origin === location.origin) return url.pathname + url.search + (url.hash || location.hash);
  } catch {
    // No address.
  }
  return "/";
}

/** What is wrong, as the server says it. */
async function said(answer) {
  const body = await answer.json().catch(() => ({}));
  return typeof body.detail === "string" ? body.detail : `The server answers ${answer.status}.`;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.getAttribute("aria-disabled") === "true") return;
  problem.textContent = "";
  button.setAttribute("aria-disabled", "true");
  try {
    const answer = await fetch("/api/session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: form.elements.name.value.trim(), password: password.value }),
    });
    if (answer.ok) {
      location.replace(wanted());
      return;
    }
    problem.textContent = await said(answer);
  } catch {
    problem.textContent = "The server does not answer.";
  }
  button.removeAttribute("aria-disabled");
  password.select();
});
