// The way out, to real servers: mail over SMTP with STARTTLS and a login, webhooks whose signature a receiver checks, ntfy and
// Gotify as their documents say, and servers that are hostile or do not answer.
import { createHmac } from 'node:crypto'
import type { Socket } from 'node:net'
import { createServer } from 'node:net'
import { beforeAll, afterAll, expect, test } from 'vitest'
import type { Resolve } from '../../../gateway/notify/addresses.ts'
import { ANSWER_BYTES_MAX } from '../../../gateway/notify/http-post.ts'
import { testMessage } from '../../../gateway/notify/messages.ts'
import { belongingOf, Outward } from '../../../gateway/notify/outward.ts'
import { SecretBox } from '../../../gateway/notify/secrets.ts'
import type { Secrets } from '../../../gateway/notify/settings.ts'
import type { Message, TargetSettings } from '../../../protocol/notify.ts'
import { systemClock } from '../../../protocol/host/clock.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { makeAuthority, MailServer, PASSWORD, Receiver } from './servers.ts'
import { MAIL } from './stand.ts'

const MESSAGE: Message = {
  ...testMessage({
    id: '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214',
    timeMs: Date.UTC(2027, 0, 10, 12),
    tenant: 'acme',
    target: 'a',
  }),
  subject: '[Varve] error: acme/db1: späť, 12 h',
  text: 'db1 is late: its newest point is 30 h old.\n.\nThe way out: look at its agent.',
  severity: 'error',
}

let temp: TempFolder
let made: Awaited<ReturnType<typeof makeAuthority>>
let box: SecretBox

beforeAll(async () => {
  temp = await tempFolder()
  made = await makeAuthority(temp.path)
  box = await SecretBox.open(temp.path)
})

afterAll(() => temp[Symbol.asyncDispose]())

const never: Resolve = () => Promise.reject(new Error('no names here'))

const outwardOf = (options: { anywhere?: boolean; deadlineMs?: number; resolve?: Resolve } = {}): Outward => {
  const { anywhere = true, deadlineMs = 10_000, resolve = never } = options
  return new Outward({ secrets: box, clock: systemClock, anywhere, resolve, deadlineMs })
}

const TENANT = '0192aaaa-0000-4000-8000-0000c0ffee42'

/** Sends it as a tenant's. */
const send = async (settings: TargetSettings, secrets: Secrets = {}, outward = outwardOf(), message = MESSAGE) => {
  const secret = await box.seal(JSON.stringify(secrets), belongingOf(TENANT, 'a'))
  return outward.send(TENANT, { name: 'a', settings, secret }, message)
}

const mailTo = (port: number, rest: Partial<typeof MAIL> = {}): typeof MAIL => ({
  ...MAIL,
  host: '127.0.0.1',
  port,
  user: 'varve',
  authority: made.authority,
  ...rest,
})

const hookOf = (rest: object = {}): TargetSettings => ({
  kind: 'webhook',
  insecure: false,
  template: null,
  authority: null,
  ...rest,
})

test('mail goes out over STARTTLS with a login, as a program’s own, and the same when it goes out again', async () => {
  await using server = await MailServer.listen(made.pair)
  for (let time = 0; time < 2; time++)
    expect(await send(mailTo(server.port), { password: PASSWORD })).toEqual({ sent: true, answer: '250 queued as 42' })
  const [first, second] = server.mails
  expect(first).toMatchObject({ from: MAIL.from, to: MAIL.to, secure: true, user: 'varve' })
  for (const line of [
    'From: Varve <varve@example.org>',
    'To: ann@example.org',
    'Auto-Submitted: auto-generated',
    'Date: Sun, 10 Jan 2027 12:00:00 +0000',
    'Message-ID: <3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214@example.org>',
    'Content-Type: text/plain; charset=utf-8',
  ])
    expect(first!.raw.replaceAll('\r\n', '\n')).toContain(`${line}\n`)
  expect(first!.raw).toMatch(/^Subject: =\?UTF-8\?/mu)
  expect(first!.raw).toContain('The way out: look at its agent.')
  // a line of one dot ends no mail
  expect(first!.raw).toContain('\r\n.\r\n')
  expect(second!.raw).toBe(first!.raw)
})

test('mail goes out over TLS, and in the clear where that is said', async () => {
  await using tls = await MailServer.listen(made.pair, { secure: true })
  expect(await send(mailTo(tls.port, { security: 'tls' }), { password: PASSWORD })).toMatchObject({ sent: true })
  await using plain = await MailServer.listen(null, { disabledCommands: ['STARTTLS', 'AUTH'] })
  const settings = mailTo(plain.port, { security: 'none', user: null, authority: null })
  expect(await send(settings)).toMatchObject({ sent: true })
  expect([tls.mails[0]!.secure, plain.mails[0]!.secure]).toEqual([true, false])
})

test('without STARTTLS, with a certificate of nobody, or with a wrong password nothing is sent and nothing told', async () => {
  await using bare = await MailServer.listen(made.pair, { hideSTARTTLS: true, disabledCommands: ['STARTTLS'] })
  const refused = await send(mailTo(bare.port), { password: PASSWORD })
  expect(refused).toMatchObject({ sent: false, answer: expect.stringMatching(/STARTTLS|500/u) as string })
  await using server = await MailServer.listen(made.pair)
  const strange = await send(mailTo(server.port, { authority: null }), { password: PASSWORD })
  expect(strange).toMatchObject({ sent: false, answer: expect.stringContaining('certificate') as string })
  // this server says the password that it was given
  const wrong = await send(mailTo(server.port), { password: 'swordfish' })
  expect(wrong.sent).toBe(false)
  expect(wrong.answer).toContain('535')
  expect(wrong.answer).not.toContain('swordfish')
  expect([...bare.mails, ...server.mails]).toEqual([])
})

test('a webhook gets JSON that its receiver can prove to be ours, once for each id', async () => {
  await using server = await Receiver.listen()
  const key = 'k'.repeat(32)
  const headers = [{ name: 'Authorization', value: 'Bearer abc' }]
  const secrets = { url: `${server.url}/hook?x=1`, key, headers }
  expect(await send(hookOf(), secrets)).toEqual({ sent: true, answer: '200 ok' })
  const [{ method, path, headers: got, body }] = server.requests as [(typeof server.requests)[0]]
  expect([method, path, got.authorization, got['content-type']]).toEqual([
    'POST',
    '/hook?x=1',
    'Bearer abc',
    'application/json',
  ])
  expect(JSON.parse(body)).toEqual(MESSAGE)
  expect(got['varve-id']).toBe(MESSAGE.id)
  const [, seconds, signature] = /^t=(\d+),v1=([0-9a-f]{64})$/u.exec(String(got['varve-signature']))!
  expect(Math.abs(Date.now() / 1000 - Number(seconds))).toBeLessThan(60)
  expect(signature).toBe(createHmac('sha256', key).update(`${seconds}.${body}`).digest('hex'))
})

test('a template makes what another service takes, whatever the message says', async () => {
  await using server = await Receiver.listen()
  const template = '{"text": "{{subject}}", "more": ["{{ text }}", "{{severity}}"]}'
  const message = { ...MESSAGE, subject: 'a "quoted" \\ subject {{text}}' }
  await send(hookOf({ template }), { url: server.url }, outwardOf(), message)
  expect(JSON.parse(server.requests[0]!.body)).toEqual({ text: message.subject, more: [MESSAGE.text, 'error'] })
})

test('a webhook over TLS trusts the authority that its target names, and no other one', async () => {
  await using server = await Receiver.listen(undefined, made.pair)
  const secrets = { url: `${server.url}/` }
  expect(await send(hookOf({ authority: made.authority }), secrets)).toEqual({ sent: true, answer: '200 ok' })
  const { sent, answer } = await send(hookOf(), secrets)
  expect([sent, answer]).toEqual([false, expect.stringContaining('certificate')])
  expect(server.requests).toHaveLength(1)
})

test('ntfy and Gotify get what their documents say', async () => {
  await using server = await Receiver.listen((_, response) => {
    response.setHeader('content-type', 'application/json')
    response.end('{"id":"hwQ2YpKdmg"}')
  })
  const priorities = { info: 2, warning: 4, error: 5 }
  const common = { url: `${server.url}/sub/`, insecure: false, priorities, authority: null }
  const ntfy = { ...common, kind: 'ntfy', topic: 'backups' } as const
  expect(await send(ntfy, { token: 'tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2' })).toMatchObject({ sent: true })
  expect(await send({ ...common, kind: 'gotify' }, { token: 'AKO5jlpdcmzFyq7' })).toMatchObject({ sent: true })
  const [first, second] = server.requests
  // docs.ntfy.sh/publish: JSON to the root of the server, Bearer token, priority 1 to 5
  expect([first!.method, first!.path, first!.headers.authorization]).toEqual([
    'POST',
    '/sub/',
    'Bearer tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2',
  ])
  expect(JSON.parse(first!.body)).toEqual({
    topic: 'backups',
    title: MESSAGE.subject,
    message: MESSAGE.text,
    priority: 5,
  })
  // gotify.net/api-docs: POST /message with the application's token
  expect([second!.path, second!.headers['x-gotify-key'], second!.headers['content-type']]).toEqual([
    '/sub/message',
    'AKO5jlpdcmzFyq7',
    'application/json',
  ])
  expect(JSON.parse(second!.body)).toEqual({
    title: MESSAGE.subject,
    message: MESSAGE.text,
    priority: 5,
    extras: { 'client::display': { contentType: 'text/plain' } },
  })
  // past 4096 bytes ntfy would make a file of it
  await send(ntfy, {}, outwardOf(), { ...MESSAGE, text: 'é'.repeat(5000) })
  const { message } = JSON.parse(server.requests[2]!.body) as { message: string }
  expect(Buffer.byteLength(message)).toBeLessThan(4096)
  expect(message).not.toContain('\uFFFD')
})

test('a refusal, a redirect and an answer without end are not taken, and cost little', async () => {
  await using refusing = await Receiver.listen(
    (_, response) => void response.writeHead(403).end('no \u001B[31m entry\r\n'),
  )
  expect(await send(hookOf(), { url: refusing.url })).toEqual({
    sent: false,
    answer: 'the server answered 403 no  [31m entry',
  })
  await using inside = await Receiver.listen()
  await using redirecting = await Receiver.listen(
    (_, response) => void response.writeHead(307, { location: inside.url }).end(),
  )
  const redirected = await send(hookOf(), { url: redirecting.url })
  expect(redirected).toMatchObject({ sent: false, answer: expect.stringContaining('307') as string })
  expect(inside.requests).toEqual([])
  let written = 0
  await using endless = await Receiver.listen((_, response) => {
    const part = Buffer.alloc(64 * 1024, 'x')
    const more = (): void => {
      while (!response.destroyed && response.write(part)) written += part.length
      if (!response.destroyed) response.once('drain', more)
    }
    more()
  })
  expect(await send(hookOf(), { url: endless.url })).toMatchObject({ sent: true })
  expect(written).toBeLessThan(100 * ANSWER_BYTES_MAX)
})

test('what a server says back never has a secret in it', async () => {
  await using echo = await Receiver.listen((request, response) => {
    response.writeHead(400).end(`${String(request.headers.authorization)} ${request.url}`)
  })
  const { answer } = await send(hookOf(), {
    url: `${echo.url}/services/T0/B0/SECRET`,
    headers: [{ name: 'authorization', value: 'Bearer hush' }],
  })
  expect(answer).not.toMatch(/hush|SECRET/u)
})

test('a server that says nothing, or everything slowly, has its deadline', async () => {
  const open = new Set<Socket>()
  let greeting = 'HTTP/1.1 200 OK\r\nX: '
  const server = createServer((socket) => {
    open.add(socket)
    socket.on('error', () => {})
    socket.write(greeting)
    // one byte of an answer now and then
    const timer = setInterval(() => socket.write('2'), 20)
    socket.once('close', () => clearInterval(timer))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  await using stack = new AsyncDisposableStack()
  stack.defer(async () => {
    for (const socket of open) socket.destroy()
    await new Promise((done) => server.close(done))
  })
  const { port } = server.address() as { port: number }
  const outward = outwardOf({ deadlineMs: 300 })
  const late = { sent: false, answer: 'no answer came within 0.3 s' }
  expect(await send(hookOf(), { url: `http://127.0.0.1:${port}/` }, outward)).toEqual(late)
  greeting = '220-'
  expect(await send(mailTo(port), { password: 'swordfish' }, outward)).toEqual(late)
  // the connections of it are gone as well
  await expect.poll(() => [...open].filter((socket) => !socket.destroyed).length).toBe(0)
})

test('a tenant reaches no address of this host or a private network, whatever a name means; the platform may', async () => {
  await using server = await Receiver.listen()
  const outward = outwardOf({ anywhere: false, resolve: async () => [{ address: '127.0.0.1', family: 4 }] })
  for (const host of ['127.0.0.1', 'localhost', 'hook.example', '[::ffff:127.0.0.1]', '0x7f.1']) {
    const url = `http://${host}:${server.port}/`
    const { sent, answer } = await send(hookOf({ insecure: true }), { url }, outward)
    expect([host, sent, answer]).toEqual([host, false, expect.stringContaining('notify_private')])
  }
  const mail = await send(mailTo(server.port, { host: 'mail.example' }), { password: PASSWORD }, outward)
  expect(mail).toMatchObject({ sent: false, answer: expect.stringContaining('notify_private') as string })
  expect(server.requests).toEqual([])
  const secret = await box.seal(JSON.stringify({ url: `${server.url}/` }), belongingOf(null, 'a'))
  expect(await outward.send(null, { name: 'a', settings: hookOf(), secret }, MESSAGE)).toMatchObject({ sent: true })
})

test('what was looked at is what is connected to: a name is resolved once', async () => {
  let asked = 0
  const resolve: Resolve = async () => (asked++, [{ address: '127.0.0.1', family: 4 }])
  await using plain = await Receiver.listen()
  const url = `http://hook.example:${plain.port}/`
  expect(await send(hookOf({ insecure: true }), { url }, outwardOf({ resolve }))).toMatchObject({ sent: true })
  expect(plain.requests[0]!.headers.host).toBe(`hook.example:${plain.port}`)
  await using server = await MailServer.listen(null, { disabledCommands: ['STARTTLS', 'AUTH'] })
  const mail = mailTo(server.port, { host: 'mail.example', security: 'none', insecure: true, user: null })
  expect(await send(mail, {}, outwardOf({ resolve }))).toMatchObject({ sent: true })
  expect(asked).toBe(2)
})

test('secrets of one target are of no use for another one, and a lost key is said', async () => {
  const secret = await box.seal(JSON.stringify({ url: 'https://a.example/' }), belongingOf(TENANT, 'other'))
  const lost = { sent: false, answer: expect.stringContaining('set the secrets of this target again') as string }
  expect(await outwardOf().send(TENANT, { name: 'a', settings: hookOf(), secret }, MESSAGE)).toEqual(lost)
})
