import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const api = process.env.API_URL ?? "http://127.0.0.1:8000";
const paths = ["/jobs", "/events", "/datasets", "/checkpoints", "/catalog", "/health", "/openapi.json", "/docs"];

export default defineConfig({
  plugins: [react(), tailwindcss()],
  resolve: { alias: { "@": new URL("./src", import.meta.url).pathname } },
  build: { target: "es2022", chunkSizeWarningLimit: 600 },
  server: { proxy: Object.fromEntries(paths.map((path) => [path, api])) },
});
