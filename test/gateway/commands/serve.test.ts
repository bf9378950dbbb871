// The serve command: addresses, its configuration file, what it refuses, its log and its end.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { parseMemory, parseReserve } from '../../../gateway/commands/serve.ts'
import { Gateway } from '../../../gateway/gateway.ts'
import { systemClock } from '../../../protocol/host/clock.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { eventually, tempFolder } from '../../support/temp.ts'
import { runGateway, ServingGateway } from '../program.ts'

const MAIN = path.join(import.meta.dirname, '../../../gateway/main.ts')

test('a reserve is a size, none, or left to the default', () => {
  expect([undefined, '0', '500M', '1.5G'].map(parseReserve)).toEqual([null, 0, 500 * 2 ** 20, 1.5 * 2 ** 30])
  expect(() => parseReserve('5%')).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
})

test('memory is a size, of which some is needed, or left to the default', () => {
  expect([undefined, '64M', '2G'].map(parseMemory)).toEqual([null, 64 * 2 ** 20, 2 * 2 ** 30])
  for (const text of ['63M', '0', 'much'])
    expect(() => parseMemory(text)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
})

test('plain connections from elsewhere need to be asked for, and TLS needs both its files', async () => {
  await using temp = await tempFolder()
  const at = ['--data', temp.join('data')]
  const plain = await runGateway(['serve', '--listen', '0.0.0.0:0', ...at])
  expect([plain.code, plain.stdout]).toEqual([EXIT.usage, ''])
  expect(plain.stderr).toContain('--tls-cert')
  const half = await runGateway(['serve', '--tls-cert', '/etc/hostname', ...at])
  expect([half.code, half.stderr]).toEqual([EXIT.usage, expect.stringContaining('--tls-key')])
  const unread = await runGateway(['serve', '--tls-cert', temp.join('c'), '--tls-key', temp.join('k'), ...at])
  expect([unread.code, unread.stderr]).toEqual([EXIT.usage, expect.stringContaining(temp.join('c'))])
  await using open = await ServingGateway.start(['--listen', '0.0.0.0:0', '--insecure', ...at])
  expect(open.url).toMatch(/^ws:\/\/0\.0\.0\.0:\d+$/u)
})

test('a configuration file says what options say, and options win', async () => {
  await using temp = await tempFolder()
  const config = temp.join('gateway.toml')
  const text = `data = "${temp.join('data')}"\nlisten = "0.0.0.0:1"\nlog_level = "silent"\ninsecure = false\n`
  await writeFile(config, text)
  await using gateway = await ServingGateway.start(['--config', config])
  expect(gateway.url).toMatch(/^ws:\/\/127\.0\.0\.1:\d+$/u)
  const ended = await gateway.stop('SIGINT')
  expect(ended).toMatchObject({ code: EXIT.ok, stderr: '' })
})

test('an error in a configuration file names the file and the key', async () => {
  await using temp = await tempFolder()
  const config = temp.join('gateway.toml')
  const failing = async (text: string): Promise<string> => {
    await writeFile(config, text)
    const { code, stderr, stdout } = await runGateway(['serve', '--config', config])
    expect([code, stdout]).toEqual([EXIT.usage, ''])
    expect(stderr).toContain(config)
    return stderr
  }
  expect(await failing('listen = 8470\n')).toContain('listen')
  expect(await failing('listne = "127.0.0.1:1"\n')).toContain('listne')
  expect(await failing('log_level = "loud"\n')).toContain('log_level')
  expect(await failing('reserve = 5\n')).toContain('reserve')
  await failing('listen = \n')
  const missing = await runGateway(['serve', '--config', temp.join('none.toml')])
  expect([missing.code, missing.stderr]).toEqual([EXIT.usage, expect.stringContaining(temp.join('none.toml'))])
})

test('a signal ends it cleanly, its log is JSON lines, and a start after it finds everything', async () => {
  await using temp = await tempFolder()
  const at = ['--data', temp.join('data')]
  const first = await ServingGateway.start(at)
  await runGateway(['tenant', 'add', 'acme', '--no-plan', ...at])
  const { code, stdout, stderr } = await first.stop('SIGTERM')
  expect([code, stdout]).toEqual([EXIT.ok, `${first.url}\n`])
  const lines = stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { msg: string; signal?: string })
  expect(lines.map(({ msg }) => msg)).toContain('gateway listens')
  expect(lines.at(-1)).toMatchObject({ msg: 'gateway stops', signal: 'SIGTERM' })
  await using second = await ServingGateway.start(at)
  expect((await fetch(`${second.url.replace('ws', 'http')}/healthz`)).status).toBe(200)
  expect((await runGateway(['tenant', 'list', '--json', ...at])).stdout).toContain('acme')
})

test('a start waits for a command that has opened the data folder for itself', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('data')
  await mkdir(folder, { mode: 0o700 })
  const log = openLog({ level: 'silent' })
  const gateway = await Gateway.open({ folder, listen: null, log, clock: systemClock })
  const args = ['serve', '--listen', '127.0.0.1:0', '--data', folder]
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, VARVE_DATA: undefined },
  })
  const closed = once(child, 'close')
  const text = { out: '', log: '' }
  child.stdout.on('data', (part: Buffer) => (text.out += part.toString()))
  child.stderr.on('data', (part: Buffer) => (text.log += part.toString()))
  await eventually(() => text.log.includes('waits for the command') || child.exitCode !== null)
  expect([text.out, child.exitCode]).toEqual(['', null])
  await gateway[Symbol.asyncDispose]()
  await eventually(() => text.out.includes('\n') || child.exitCode !== null)
  child.kill('SIGTERM')
  expect([(await closed)[0], text.out]).toEqual([EXIT.ok, expect.stringMatching(/^ws:/u)])
})
