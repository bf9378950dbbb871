// A receiver of webhooks that checks each signature by itself and keeps the messages.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import * as v from 'valibot'
import { message, type Message } from '../../protocol/notify.ts'

/** How old a signature may be, in seconds. */
const AGE_MAX_S = 300

/** Whether a body is signed with the key, as PROTOCOL.md says it, and lately. */
export const isSigned = (key: string, header: string, body: string, nowMs: number): boolean => {
  const [, seconds = '', hex = ''] = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/u.exec(header) ?? []
  if (hex === '' || Math.abs(nowMs / 1000 - Number(seconds)) > AGE_MAX_S) return false
  const wanted = createHmac('sha256', key).update(`${seconds}.${body}`).digest()
  return timingSafeEqual(wanted, Buffer.from(hex, 'hex'))
}

export class Hook implements AsyncDisposable {
  readonly key: string
  readonly url: string
  /** Each message once, though it may have come twice. */
  readonly messages: Message[] = []
  /** What came without a right signature, or was no message. */
  readonly wrong: string[] = []
  /** The first answers to refuse, as a receiver that is down does. */
  refuse = 0
  readonly #server: Server
  readonly #known = new Set<string>()

  private constructor(server: Server, url: string, key: string) {
    this.#server = server
    this.url = url
    this.key = key
    server.on('request', (request, response) => void this.#take(request, response).catch(() => response.destroy()))
  }

  static async listen(key: string): Promise<Hook> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('the receiver has no port')
    return new Hook(server, `http://127.0.0.1:${address.port}/hook`, key)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => void this.#server.close(() => resolve()))
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks).toString()
    if (this.refuse > 0) {
      this.refuse -= 1
      return void response.writeHead(503).end('not now')
    }
    const signature = String(request.headers['varve-signature'] ?? '')
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), message), body)
    if (!isSigned(this.key, signature, body, Date.now())) this.wrong.push(`signature "${signature}"`)
    else if (!parsed.success) this.wrong.push(`no message: ${body.slice(0, 200)}`)
    else if (parsed.output.id !== request.headers['varve-id']) this.wrong.push('the id of the header is another one')
    else if (!this.#known.has(parsed.output.id)) {
      this.#known.add(parsed.output.id)
      this.messages.push(parsed.output)
    }
    response.writeHead(204).end()
  }
}
