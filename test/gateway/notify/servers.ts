// Servers that notifications go to: a mail server with STARTTLS and a login, and HTTP receivers that note what came.
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import { makeCertificate, type Pair } from '../../support/certificates.ts'

/** The password that mail servers here take. */
export const PASSWORD = 'corréct horse battery'

const portOf = (server: Server): number => (server.address() as AddressInfo).port

export interface Mail {
  readonly from: string
  readonly to: readonly string[]
  readonly raw: string
  readonly secure: boolean
  readonly user: string | null
}

/** An authority and a server's certificate of it, in a folder. */
export const makeAuthority = async (folder: string): Promise<{ readonly authority: string; readonly pair: Pair }> => {
  const root = await makeCertificate(folder, 'root', { authority: true, names: null })
  const pair = await makeCertificate(folder, 'server', { by: root, names: 'IP:127.0.0.1, DNS:localhost' })
  return { authority: await readFile(root.cert, 'utf8'), pair }
}

export class MailServer implements AsyncDisposable {
  readonly mails: Mail[] = []
  readonly port: number
  readonly #server: SMTPServer

  private constructor(server: SMTPServer, port: number) {
    this.#server = server
    this.port = port
  }

  /** `options` change the server; a login is asked for unless they say otherwise. */
  static async listen(pair: Pair | null, options: SMTPServerOptions = {}): Promise<MailServer> {
    const keys = pair === null ? {} : { key: await readFile(pair.key), cert: await readFile(pair.cert) }
    let made: MailServer | null = null
    const server = new SMTPServer({
      ...keys,
      onAuth: ({ username, password }, _session, callback) =>
        password === PASSWORD
          ? callback(null, { user: username })
          : callback(new Error(`535 5.7.8 the password ${password} of ${username} is wrong`)),
      onData: (stream, { envelope, secure, user }, callback) => {
        const parts: Buffer[] = []
        stream.on('data', (part: Buffer) => parts.push(part))
        stream.on('end', () => {
          const { mailFrom, rcptTo } = envelope
          made!.mails.push({
            from: mailFrom === false ? '' : mailFrom.address,
            to: rcptTo.map(({ address }) => address),
            raw: Buffer.concat(parts).toString('utf8'),
            secure,
            user: typeof user === 'string' ? user : null,
          })
          callback(null, 'queued as 42')
        })
      },
      ...options,
    })
    server.on('error', () => {})
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    made = new MailServer(server, portOf(server.server))
    return made
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((done) => this.#server.close(done))
  }
}

export interface Request {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export class Receiver implements AsyncDisposable {
  readonly requests: Request[] = []
  readonly url: string
  readonly port: number
  readonly #server: Server & { closeAllConnections(): void }

  private constructor(server: Server & { closeAllConnections(): void }, secure: boolean) {
    this.#server = server
    this.port = portOf(server)
    this.url = `${secure ? 'https' : 'http'}://127.0.0.1:${this.port}`
  }

  /** `answer` answers once a request has been noted; 200 without one. */
  static async listen(answer: RequestListener = (_, response) => void response.end('ok'), pair: Pair | null = null) {
    let made: Receiver | null = null
    const listener: RequestListener = (request, response) => {
      const parts: Buffer[] = []
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', () => {
        const { method = '', url: path = '', headers } = request
        made!.requests.push({ method, path, headers, body: Buffer.concat(parts).toString('utf8') })
        answer(request, response)
      })
    }
    const server =
      pair === null
        ? createServer(listener)
        : createTlsServer({ key: await readFile(pair.key), cert: await readFile(pair.cert) }, listener)
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    made = new Receiver(server, pair !== null)
    return made
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((done) => this.#server.close(() => done()))
  }
}
