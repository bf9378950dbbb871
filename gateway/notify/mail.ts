// Mail over SMTP: one message to all of a target's recipients, as plain text.
import { createTransport } from 'nodemailer'
import { VarveError } from '../../protocol/errors.ts'
import type { Message, SmtpSettings } from '../../protocol/notify.ts'
import { connectTo, type Reach } from './addresses.ts'
import { ANSWER_BYTES_MAX, trusting } from './http-post.ts'
import type { Secrets } from './settings.ts'

/** The mail of a message; its id stays the same when it is sent again. */
export const mailOf = ({ from, to }: SmtpSettings, { id, subject, text, timeMs, severity, kind }: Message) => ({
  from: { name: 'Varve', address: from },
  to: to.map((address) => ({ name: '', address })),
  subject,
  text: `${text}\n`,
  date: new Date(timeMs),
  messageId: `<${id}@${from.slice(from.lastIndexOf('@') + 1)}>`,
  headers: {
    // no machine answers to it
    'Auto-Submitted': 'auto-generated',
    'X-Auto-Response-Suppress': 'All',
    'Varve-Id': id,
    'Varve-Kind': kind,
    'Varve-Severity': severity,
  },
})

/** Sends a mail; the server's answer. What connecting ends with, PEER_FAILED. */
export const sendMail = async (
  settings: SmtpSettings,
  { password }: Secrets,
  message: Message,
  reach: Reach,
  signal: AbortSignal,
): Promise<string> => {
  const { host, port, security, user, authority } = settings
  const socket = await connectTo({ host, port }, reach, signal)
  const transport = createTransport({
    host,
    port,
    secure: security === 'tls',
    requireTLS: security === 'starttls',
    ignoreTLS: security === 'none',
    tls: { ...trusting(authority), minVersion: 'TLSv1.2' },
    ...(user === null || password === undefined ? {} : { auth: { user, pass: password }, forceAuth: true }),
    getSocket: (_options: unknown, callback: (error: Error | null, found: { connection: unknown }) => void) =>
      callback(null, { connection: socket }),
    maxResponseSize: ANSWER_BYTES_MAX,
    disableFileAccess: true,
    disableUrlAccess: true,
    logger: false,
  } as Parameters<typeof createTransport>[0])
  try {
    const info = (await transport.sendMail(mailOf(settings, message))) as {
      readonly response: string
      readonly rejected: readonly unknown[]
    }
    const left = info.rejected.length === 0 ? '' : `, but it refuses ${info.rejected.map(String).join(', ')}`
    return `${info.response}${left}`
  } catch (thrown) {
    signal.throwIfAborted()
    const { message: words, response } = thrown as Error & { response?: string }
    throw new VarveError('PEER_FAILED', response === undefined ? words : `the server answered ${response}`)
  } finally {
    transport.close()
    socket.destroy()
  }
}
