// The console on the port: its page and pieces from memory, compressed for whom it concerns, and with a policy that lets a
// page do nothing but what it is for.
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { request, type IncomingMessage, type ServerResponse } from 'node:http'
import { brotliCompressSync, brotliDecompressSync } from 'node:zlib'
import { expect, test, vi } from 'vitest'
import { Console } from '../../../gateway/server/console.ts'
import type { Log } from '../../../protocol/host/log.ts'
import { startGateway } from '../../support/gateway.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'

vi.mock('node:fs/promises', { spy: true })

const PAGE = '<!doctype html><title>Varve</title>'
const SCRIPT = 'console.info("a script")'

const write = async (temp: TempFolder): Promise<string> => {
  const folder = temp.join('dist')
  await mkdir(`${folder}/console`, { recursive: true })
  for (const [name, text] of [
    ['page.html', PAGE],
    ['console/main-ABCDEFGH.js', SCRIPT],
    ['console/main-ABCDEFGH.css', 'body { color: red }'],
  ] as const) {
    await writeFile(`${folder}/${name}`, text)
    await writeFile(`${folder}/${name}.br`, brotliCompressSync(text))
  }
  return folder
}

interface Answer {
  readonly status: number | undefined
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

/** A request without what fetch adds to it. */
const ask = (url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, agent: false }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('end', () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }),
      )
    })
    sent.on('error', reject)
    sent.end()
  })

test('the page is asked for each time and its pieces never again', async () => {
  await using temp = await tempFolder()
  const consoleFolder = await write(temp)
  await using gateway = await startGateway({ folder: temp.join('data'), consoleFolder })
  const page = await ask(`${gateway.httpUrl}/?from=somewhere`)
  expect(page).toMatchObject({
    status: 200,
    headers: { 'cache-control': 'no-cache', 'content-type': expect.stringMatching(/^text\/html/u) },
  })
  expect(page.body.toString()).toBe(PAGE)
  const again = await ask(`${gateway.httpUrl}/`, { 'if-none-match': String(page.headers.etag) })
  expect(again).toMatchObject({ status: 304, body: Buffer.of() })
  expect(again.headers['content-security-policy']).toBe(page.headers['content-security-policy'])
  const script = await ask(`${gateway.httpUrl}/console/main-ABCDEFGH.js`)
  expect(script.headers['cache-control']).toContain('immutable')
  expect(script.headers['content-type']).toMatch(/^text\/javascript/u)
  expect(script.body.toString()).toBe(SCRIPT)
  // from memory: what happens to the folder is for the next start
  await rm(consoleFolder, { recursive: true })
  expect((await ask(`${gateway.httpUrl}/console/main-ABCDEFGH.css`)).body.toString()).toBe('body { color: red }')
})

test('whoever takes Brotli gets it, and nobody else', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data'), consoleFolder: await write(temp) })
  const coded = async (accepted: string): Promise<string> => {
    const { headers, body } = await ask(`${gateway.httpUrl}/console/main-ABCDEFGH.js`, { 'accept-encoding': accepted })
    expect(headers.vary).toBe('accept-encoding')
    expect(headers['content-length']).toBe(String(body.length))
    const coding = headers['content-encoding'] ?? 'identity'
    expect((coding === 'br' ? brotliDecompressSync(body) : body).toString()).toBe(SCRIPT)
    return coding
  }
  for (const accepted of ['br', 'gzip, deflate, br, zstd', 'gzip;q=1.0, BR;q=0.5', 'br ; q=0.001'])
    expect([accepted, await coded(accepted)]).toEqual([accepted, 'br'])
  for (const accepted of ['', 'gzip', 'br;q=0', 'gzip, br; q=0.000', 'brotli', 'xbr'])
    expect([accepted, await coded(accepted)]).toEqual([accepted, 'identity'])
})

test('a HEAD answers as a GET without its body, and other methods and paths are not there', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data'), consoleFolder: await write(temp) })
  const head = await ask(`${gateway.httpUrl}/`, {}, 'HEAD')
  expect(head).toMatchObject({ status: 200, headers: { 'content-length': String(PAGE.length) }, body: Buffer.of() })
  for (const [method, target] of [
    ['POST', '/'],
    ['DELETE', '/console/main-ABCDEFGH.js'],
    ['GET', '/page.html'],
    ['GET', '/console/'],
    ['GET', '/console/page.html'],
    ['GET', '/console/main-ABCDEFGH.js.br'],
    ['GET', '/console/__proto__'],
    ['GET', '/console/..%2fpage.html'],
  ] as const)
    expect([target, (await ask(gateway.httpUrl + target, {}, method)).status]).toEqual([target, 404])
})

test('the page may load from its gateway and talk to it, and cannot be framed or made of text', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data'), consoleFolder: await write(temp) })
  const { headers } = await ask(`${gateway.httpUrl}/`)
  const policy = String(headers['content-security-policy']).split('; ')
  expect(policy).toEqual(
    expect.arrayContaining([
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "connect-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "require-trusted-types-for 'script'",
      "trusted-types 'none'",
    ]),
  )
  expect(policy.join()).not.toMatch(/unsafe|\*|https?:/u)
  // pictures of drills come over the session
  expect(policy.filter((part) => part.includes('blob:'))).toEqual(["img-src 'self' data: blob:"])
  expect(headers).toMatchObject({
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
  })
})

test('where it is not built the answer says how to, and it is served as soon as it is', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data'), consoleFolder: temp.join('dist') })
  const before = await ask(`${gateway.httpUrl}/`)
  expect(before.status).toBe(503)
  expect(before.body.toString()).toContain('npm run build')
  expect((await fetch(`${gateway.httpUrl}/healthz`)).status).toBe(200)
  await write(temp)
  expect((await ask(`${gateway.httpUrl}/`)).status).toBe(200)
})

test('a console too large for the memory is not served and stops nothing', async () => {
  await using temp = await tempFolder()
  const consoleFolder = await write(temp)
  await writeFile(`${consoleFolder}/console/large-ABCDEFGH.js`, Buffer.alloc(33 * 1024 * 1024))
  await using gateway = await startGateway({ folder: temp.join('data'), consoleFolder })
  expect((await ask(`${gateway.httpUrl}/`)).status).toBe(503)
  expect((await fetch(`${gateway.httpUrl}/healthz`)).status).toBe(200)
})

test('one that cannot be read is read once for all who ask, again after a while, and logged once', async () => {
  await using temp = await tempFolder()
  const folder = await write(temp)
  await writeFile(`${folder}/console/large-ABCDEFGH.js`, Buffer.alloc(33 * 1024 * 1024))
  const error = vi.fn()
  const log = { error } as unknown as Log
  const now = vi.spyOn(performance, 'now').mockReturnValue(0)
  try {
    const served = await Console.open({ folder, log })
    const writeHead = vi.fn()
    const response = { writeHead, end: () => {} } as unknown as ServerResponse
    const get = (): Promise<boolean> =>
      served.answer('GET', '/', { headers: {} } as unknown as IncomingMessage, response)
    const statuses = (): number[] => writeHead.mock.calls.splice(0).map(([status]) => status as number)
    const reads = vi.mocked(readdir)
    reads.mockClear()
    await Promise.all([get(), get()])
    expect([reads.mock.calls.length, statuses()]).toEqual([0, [503, 503]])
    now.mockReturnValue(5000)
    await Promise.all([get(), get(), get()])
    expect([reads.mock.calls.length, statuses(), error.mock.calls.length]).toEqual([1, [503, 503, 503], 1])
    await rm(`${folder}/console/large-ABCDEFGH.js`)
    now.mockReturnValue(10_000)
    await get()
    expect(statuses()).toEqual([200])
  } finally {
    now.mockRestore()
  }
})
