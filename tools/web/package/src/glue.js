// The modules' bindings and bytes, each by a path that bundlers can see.

/** Imports a module's bindings. */
export const glue = {
  simd: () => import("../engine/simd.js"),
  relaxed: () => import("../engine/relaxed.js"),
  "simd-threads": () => import("../engine/simd-threads.js"),
  "relaxed-threads": () => import("../engine/relaxed-threads.js"),
};

/** Where a module's bytes are, in gzip. */
export const bytes = {
  simd: () => new URL("../engine/simd_bg.wasm.gz", import.meta.url),
  relaxed: () => new URL("../engine/relaxed_bg.wasm.gz", import.meta.url),
  "simd-threads": () => new URL("../engine/simd-threads_bg.wasm.gz", import.meta.url),
  "relaxed-threads": () => new URL("../engine/relaxed-threads_bg.wasm.gz", import.meta.url),
};

/**
 * Compiles a module out of bytes that are in gzip, or were until a server or a browser unpacked them: some take
 * `.wasm.gz` for a content encoding.
 * @param {Uint8Array} packed
 */
export async function compile(packed) {
  const isGzip = packed[0] === 0x1f && packed[1] === 0x8b;
  if (!isGzip) return WebAssembly.compile(packed);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const response = new Response(stream, { headers: { "content-type": "application/wasm" } });
  return WebAssembly.compileStreaming
    ? WebAssembly.compileStreaming(response)
    : WebAssembly.compile(await response.arrayBuffer());
}
