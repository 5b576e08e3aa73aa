"""The proof that the base install runs on 64-bit ARM: a Debian root for arm64, its processor emulated by QEMU."""
