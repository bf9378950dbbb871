// Serves the console from memory: the page, and its pieces, whose names change with what they hold.
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import path from 'node:path'
import { storeError } from '../common/store-error.ts'
import type { Log } from '../../protocol/host/log.ts'

/** Where `npm run build` puts it, beside its sources. */
export const CONSOLE_FOLDER = path.resolve(import.meta.dirname, '../console/dist')

const PAGE = 'page.html'
const PIECES = 'console'

/** Largest console that is taken into memory, in bytes, compressed files included. */
export const CONSOLE_BYTES_MAX = 32 * 1024 * 1024

/** How long one that could not be read is not read again, in milliseconds: anybody may ask for it. */
const AGAIN_MS = 5000

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.woff2': 'font/woff2',
}

/** What a page may do: load from where it came, talk to its gateway, and nothing that is made of text. */
export const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  // pictures of drills come through the socket
  "img-src 'self' data: blob:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

const NOT_BUILT =
  'The console is not built. Run "npm run build" in the folder of the program; the gateway need not be restarted.\n'

interface Piece {
  readonly bytes: Buffer
  readonly brotli: Buffer | null
  readonly headers: Readonly<Record<string, string>>
}

const SAFE = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
}

const PAGE_HEADERS = {
  'cache-control': 'no-cache',
  'content-security-policy': POLICY,
  'cross-origin-opener-policy': 'same-origin',
}

/** Their names hold their hashes: another content has another name. */
const PIECE_HEADERS = { 'cache-control': 'public, max-age=31536000, immutable' }

const takesBrotli = ({ headers }: IncomingMessage): boolean =>
  (headers['accept-encoding'] ?? '')
    .split(',')
    .some((coding) => /^\s*br\s*(?:;\s*q=(?!0(?:\.0*)?\s*$).*)?$/iu.test(coding))

/** A file that may be missing; others' errors are thrown. */
const readIfThere = async (file: string): Promise<Buffer | null> => {
  try {
    return await readFile(file)
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw thrown
  }
}

export interface ConsoleOptions {
  /** What `npm run build` made. */
  readonly folder: string
  readonly log: Log
}

export class Console {
  readonly #options: ConsoleOptions
  /** By path; empty as long as there is none. */
  #pieces: ReadonlyMap<string, Piece> = new Map()
  /** One look at a time, however many ask. */
  #loading: Promise<void> | null = null
  /** When it was looked for last, by a clock that nobody sets. */
  #lookedMs = -Infinity
  /** What was wrong then. */
  #problem: string | null = null

  private constructor(options: ConsoleOptions) {
    this.#options = options
  }

  /** Takes the built console into memory; one that is not there, or cannot be read, is looked for again when it is asked for. */
  static async open(options: ConsoleOptions): Promise<Console> {
    const console = new Console(options)
    await console.#look()
    return console
  }

  /** Answers a request; false where it is for nothing of the console. */
  async answer(method: string, pathname: string, request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    if (method !== 'GET' && method !== 'HEAD') return false
    if (pathname !== '/' && !pathname.startsWith(`/${PIECES}/`)) return false
    if (this.#pieces.size === 0) await this.#look()
    const piece = this.#pieces.get(pathname)
    if (piece !== undefined) this.#give(piece, request, response)
    else if (pathname === '/') this.#excuse(response)
    else return false
    return true
  }

  #give({ bytes, brotli, headers }: Piece, request: IncomingMessage, response: ServerResponse): void {
    if (request.headers['if-none-match'] === headers['etag']) {
      response.writeHead(304, headers)
      response.end()
      return
    }
    const packed = brotli !== null && takesBrotli(request) ? brotli : null
    const body = packed ?? bytes
    const coding = packed === null ? {} : { 'content-encoding': 'br' }
    response.writeHead(200, { ...headers, ...coding, 'content-length': body.length })
    // a HEAD has no body, which Node sees to
    response.end(body)
  }

  #excuse(response: ServerResponse): void {
    response.writeHead(503, { ...SAFE, 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' })
    response.end(NOT_BUILT)
  }

  #look(): Promise<void> {
    if (this.#loading !== null) return this.#loading
    if (this.#problem !== null && performance.now() - this.#lookedMs < AGAIN_MS) return Promise.resolve()
    this.#loading = this.#load().finally(() => {
      this.#lookedMs = performance.now()
      this.#loading = null
    })
    return this.#loading
  }

  /** An error is logged once, until another one comes. */
  async #load(): Promise<void> {
    const { folder, log } = this.#options
    try {
      this.#pieces = await readPieces(folder)
      this.#problem = null
    } catch (thrown) {
      const error = storeError(thrown, 'reading the console')
      const problem = error instanceof Error ? error.message : String(error)
      if (problem !== this.#problem) log.error({ err: error, folder }, 'the console cannot be read: it is not served')
      this.#problem = problem
    }
  }
}

const pieceOf = async (file: string, headers: Readonly<Record<string, string>>): Promise<Piece> => {
  const bytes = await readFile(file)
  const etag = `"${createHash('sha256').update(bytes).digest('base64url')}"`
  const type = TYPES[path.extname(file)] ?? 'application/octet-stream'
  return {
    bytes,
    brotli: await readIfThere(`${file}.br`),
    headers: { ...SAFE, ...headers, 'content-type': type, vary: 'accept-encoding', etag },
  }
}

/** The page and its pieces by their paths; none where the console is not built. */
const readPieces = async (folder: string): Promise<ReadonlyMap<string, Piece>> => {
  if ((await readIfThere(path.join(folder, PAGE))) === null) return new Map()
  const pieces = new Map<string, Piece>()
  let bytesLeft = CONSOLE_BYTES_MAX
  const take = async (pathname: string, file: string, headers: Readonly<Record<string, string>>): Promise<void> => {
    const piece = await pieceOf(file, headers)
    bytesLeft -= piece.bytes.length + (piece.brotli?.length ?? 0)
    if (bytesLeft < 0) throw new Error(`it has more than ${CONSOLE_BYTES_MAX} bytes`)
    pieces.set(pathname, piece)
  }
  const names = await readdir(path.join(folder, PIECES))
  for (const name of names)
    if (!name.endsWith('.br')) await take(`/${PIECES}/${name}`, path.join(folder, PIECES, name), PIECE_HEADERS)
  await take('/', path.join(folder, PAGE), PAGE_HEADERS)
  return pieces
}
