// The client half of the protocol in a real browser: it signs in with its first frame, lists restore points and follows a backup.
// Method: headless Chromium loads protocol/*.ts, stripped of types, from one origin and talks to a real gateway at another;
// a real agent
// backs up a real QEMU disk slowly enough for its progress to be seen.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import { stripTypeScriptTypes } from 'node:module'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import type { Page } from 'playwright-core'
import { expect, test } from 'vitest'
import { startBrowser } from '../support/browser.ts'
import { startGateway } from '../support/gateway.ts'
import { startMachine } from '../support/qemu.ts'
import { eventually, tempFolder } from '../support/temp.ts'
import type { PageCalls } from './browser-page.ts'

const MIB = 1024 * 1024

/** Several of the pieces that the agent sends at once, and a rate that takes it some seconds. */
const DISK_BYTES = 24 * MIB
const BANDWIDTH = '4 MiB'

const ROOT = path.resolve(import.meta.dirname, '../..')

/** Where the page finds the packages that the protocol imports, in their form for browsers. */
const PACKAGES = { msgpackr: '/node_modules/msgpackr/index.js', valibot: '/node_modules/valibot/dist/index.mjs' }

const PAGE = `<!doctype html><meta charset="utf-8"><title>protocol</title><link rel="icon" href="data:,">
<script type="importmap">${JSON.stringify({ imports: PACKAGES })}</script>
<script type="module" src="/test/interop/browser-page.ts"></script>`

/** The files a page may load: the protocol, the page's own script and the two packages. */
const SERVED =
  /^\/(?:protocol\/[a-z-]+\.ts|test\/interop\/browser-page\.ts|node_modules\/(?:msgpackr|valibot)\/[\w./-]+\.m?js)$/u

const contentOf = async (pathname: string): Promise<{ type: string; body: string } | null> => {
  if (pathname === '/') return { type: 'text/html', body: PAGE }
  if (!SERVED.test(pathname) || pathname.includes('..')) return null
  const text = await readFile(path.join(ROOT, pathname), 'utf8')
  return { type: 'text/javascript', body: pathname.endsWith('.ts') ? stripTypeScriptTypes(text) : text }
}

interface Site extends AsyncDisposable {
  readonly url: string
  readonly missing: readonly string[]
}

const startSite = async (): Promise<Site> => {
  const missing: string[] = []
  const answer = async (pathname: string, response: ServerResponse): Promise<void> => {
    const content = await contentOf(pathname)
    if (content === null) missing.push(pathname)
    response.writeHead(content === null ? 404 : 200, { 'content-type': content?.type ?? 'text/plain' })
    response.end(content?.body ?? '')
  }
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://site')
    answer(pathname, response).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    missing,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

interface Browser extends AsyncDisposable {
  readonly page: Page
  /** What the page printed or threw. */
  readonly complaints: readonly string[]
}

const openBrowser = async (url: string): Promise<Browser> => {
  const browser = await startBrowser()
  const page = await browser.newPage()
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => complaints.push(message.text()))
  await page.goto(url)
  await page.waitForFunction(() => 'varve' in globalThis)
  return { page, complaints, [Symbol.asyncDispose]: () => browser.close() }
}

/** Calls a function of the page. */
const inPage = async <N extends keyof PageCalls>(
  page: Page,
  name: N,
  ...args: Parameters<PageCalls[N]>
): Promise<Awaited<ReturnType<PageCalls[N]>>> => {
  const answer: unknown = await page.evaluate(
    ([called, given]: [string, unknown[]]): Promise<unknown> => {
      const { varve } = globalThis as unknown as { varve: Record<string, (...all: unknown[]) => Promise<unknown>> }
      return varve[called]!(...given)
    },
    [name, args] as [string, unknown[]],
  )
  return answer as Awaited<ReturnType<PageCalls[N]>>
}

/** Starts `varve-agent run`; its log is shown when it ends badly. */
const startAgent = async (config: string): Promise<AsyncDisposable> => {
  const child = spawn(process.execPath, [path.join(ROOT, 'agent/main.ts'), 'run', '--config', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let log = ''
  child.stderr.on('data', (part: Buffer) => (log += part.toString()))
  const exited = once(child, 'exit') as Promise<[number | null]>
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM')
      const [code] = await exited
      if (code !== 0) throw new Error(`the agent ended with ${code}: ${log}`)
    },
  }
}

test('a page signs in, lists restore points and follows a running backup to its restore point', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('gateway') })
  const file = temp.join('vda.raw')
  await writeFile(file, randomBytes(DISK_BYTES))
  await using machine = await startMachine({
    folder: temp.path,
    disks: [{ id: 'vda', format: 'raw', file, size: DISK_BYTES }],
  })
  await gateway.enrolAgent(temp.join('state'))
  const config = temp.join('agent.toml')
  await writeFile(
    config,
    `gateway = "${gateway.url}"\nstate = "${temp.join('state')}"\nbandwidth = "${BANDWIDTH}"\n` +
      `[[machine]]\nname = "db1"\nqmp = "${machine.qmpPath}"\n`,
  )
  await using _agent = await startAgent(config)
  const operator = await gateway.connectAs(await gateway.tokenFor('operator'))
  await eventually(async () => {
    const { machines } = await operator.call('machines.list', {})
    return machines.some(({ online }) => online)
  })

  await using site = await startSite()
  await using browser = await openBrowser(site.url)
  const { page } = browser
  expect(await inPage(page, 'signIn', gateway.url, null)).toBe('TOKEN_MISSING')
  expect(await inPage(page, 'signIn', gateway.url, 'no.real.token')).toMatch(/^TOKEN_/u)
  expect(await inPage(page, 'signIn', gateway.url, await gateway.tokenFor('operator'))).toBe('operator')
  expect(await inPage(page, 'points')).toEqual([])
  expect(await inPage(page, 'codeOfRevoking')).toBe('ROLE_FORBIDDEN')

  const { states, ended } = await inPage(page, 'backup', 'db1')
  expect(ended).toMatchObject({ machine: 'db1', state: 'committed', error: null })
  expect(ended.disks).toMatchObject([
    { name: 'vda', size: DISK_BYTES, kind: 'full', reason: 'first', doneBytes: DISK_BYTES },
  ])
  const progress = states.flatMap(({ disks }) => disks.map(({ doneBytes }) => doneBytes))
  expect(progress).toEqual(progress.toSorted((a, b) => a - b))
  expect(progress.filter((doneBytes) => doneBytes > 0 && doneBytes < DISK_BYTES).length).toBeGreaterThan(0)

  const points = await inPage(page, 'points')
  expect(points).toMatchObject([{ id: ended.id, machine: 'db1', kind: 'full', reason: 'first', bytesRead: DISK_BYTES }])
  expect({ missing: site.missing, complaints: browser.complaints }).toEqual({ missing: [], complaints: [] })

  const closed = inPage(page, 'closed')
  await gateway[Symbol.asyncDispose]()
  expect(await closed).toBe('GOING_AWAY')
})
