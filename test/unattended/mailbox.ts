// A real SMTP server with STARTTLS and a password, which keeps what it is given.
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { SMTPServer } from 'smtp-server'
import { makeCertificate } from '../support/certificates.ts'

export const MAIL_USER = 'varve'
export const MAIL_PASSWORD = 'correct horse battery staple'

export interface Mail {
  readonly from: string
  readonly to: readonly string[]
  readonly subject: string
  readonly raw: string
  /** Whether it came over TLS, and with the password. */
  readonly secure: boolean
}

/** The value of a header, unfolded, with encoded words decoded. */
const headerOf = (raw: string, name: string): string => {
  const head = raw.slice(0, raw.indexOf('\r\n\r\n')).replaceAll(/\r\n[ \t]+/gu, ' ')
  const line = head.split('\r\n').find((one) => one.toLowerCase().startsWith(`${name.toLowerCase()}:`)) ?? ''
  const value = line.slice(name.length + 1).trim()
  const joined = value.replaceAll(/\?=\s+=\?/gu, '?==?')
  return joined.replaceAll(/=\?[^?]+\?([BQ])\?([^?]*)\?=/giu, (_all, kind: string, text: string) =>
    kind.toUpperCase() === 'B'
      ? Buffer.from(text, 'base64').toString()
      : Buffer.from(
          text
            .replaceAll('_', ' ')
            .replaceAll(/=([0-9A-F]{2})/giu, (_one, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
          'latin1',
        ).toString(),
  )
}

export class Mailbox implements AsyncDisposable {
  readonly mails: Mail[] = []
  readonly port: number
  /** The authority that its certificate is signed by, PEM. */
  readonly authority: string
  readonly #server: SMTPServer

  private constructor(server: SMTPServer, port: number, authority: string, mails: Mail[]) {
    this.#server = server
    this.port = port
    this.authority = authority
    this.mails = mails
  }

  static async open(folder: string): Promise<Mailbox> {
    const ca = await makeCertificate(folder, 'mail-ca', { authority: true, names: null })
    const { cert, key } = await makeCertificate(folder, 'mail', { by: ca })
    const mails: Mail[] = []
    const server = new SMTPServer({
      cert: await readFile(cert),
      key: await readFile(key),
      authMethods: ['PLAIN', 'LOGIN'],
      // a password in the clear is refused
      allowInsecureAuth: false,
      onAuth: ({ username, password }, _session, callback) =>
        username === MAIL_USER && password === MAIL_PASSWORD
          ? callback(null, { user: username })
          : callback(new Error('the password is wrong')),
      onData: (stream, session, callback) => {
        const chunks: Buffer[] = []
        stream.on('data', (chunk: Buffer) => void chunks.push(chunk))
        stream.on('end', () => {
          const raw = Buffer.concat(chunks).toString()
          const { mailFrom, rcptTo } = session.envelope
          mails.push({
            from: mailFrom === false ? '' : mailFrom.address,
            to: rcptTo.map(({ address }) => address),
            subject: headerOf(raw, 'Subject'),
            raw,
            secure: session.secure && session.user === MAIL_USER,
          })
          callback()
        })
      },
    })
    // who goes away in the middle is no failure of ours
    server.on('error', () => {})
    server.listen(0, '127.0.0.1')
    await once(server.server, 'listening')
    const address = server.server.address()
    if (address === null || typeof address === 'string') throw new Error('the mail server has no port')
    return new Mailbox(server, address.port, await readFile(ca.cert, 'utf8'), mails)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}
