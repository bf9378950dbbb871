// Drills of real machines: points that prove that they boot, and ones that do not; limits, interruptions, and what stays of them.
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Drill } from '../../protocol/drills.ts'
import { isPicture } from '../../protocol/picture.ts'
import { talkingDisk, TEXT_OFFSET } from '../support/boot/boot-disks.ts'
import { Damager } from '../support/damage.ts'
import type { Host } from '../support/stand-host.ts'
import { isAlive, Program, type Outcome } from '../support/stand-program.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

const KIB = 1024

/** What the console of each machine says. */
const TEXTS = {
  well: 'Varve test system\r\n\u001B[1;32mvarve\u001B[0m login: \0',
  stuck: 'loading...\r\nwaiting for a disk that never comes\r\n\0',
  resetting: 'panic: no init\r\n\u0002',
  hostile: `${'a'.repeat(1500)}!\r\n\u001B]0;${'\u001B[2J'.repeat(300)}\u0007\u0007${'\u001B['.repeat(400)}\u0001`,
} as const
type Machine = keyof typeof TEXTS

let stand: Stand
let host: Host
let scratch: string
const points = new Map<Machine, string>()

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost()
  scratch = stand.folder.join('scratch')
  await mkdir(scratch)
  for (const [name, text] of Object.entries(TEXTS)) {
    const content = talkingDisk(text)
    const disk = { id: 'vda', format: 'qcow2', size: content.length, content } as const
    await host.addMachine(name, [disk], { qemu: { extra: ['-vga', 'std'] } })
  }
  await host.start()
  for (const name of Object.keys(TEXTS) as Machine[]) points.set(name, (await host.backup(name)).point)
})

afterAll(async () => {
  await stand[Symbol.asyncDispose]()
})

const drill = (machine: Machine, ...flags: readonly string[]): Program =>
  host.command('drill', points.get(machine)!, '--scratch', scratch, ...flags)

const answer = ({ stdout }: Outcome): Record<string, unknown> =>
  JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>

const drillsOf = async (machine: Machine): Promise<readonly Drill[]> =>
  (await (await stand.peer()).call('drills.list', { machine })).drills

/** Processes of a drill: its QEMU has the name of its machine. */
const nothingLeft = async (): Promise<void> => expect(await readdir(scratch)).toEqual([])

test('a point proves that it boots by what its console says; verdict, log and picture stay with it', async () => {
  const before = await host.machine('well').qemu.control.execute('query-status')
  const ended = await drill('well', '--check', 'serial:login: $', '--json').ended
  expect([ended.code, ended.stderr]).toEqual([0, expect.any(String)])
  const told = answer(ended)
  expect(told).toMatchObject({
    point: points.get('well'),
    verdict: 'passed',
    check: 'serial:login: $',
    log: 'Varve test system\nvarve login: ',
  })
  await nothingLeft()
  expect(await host.machine('well').qemu.control.execute('query-status')).toEqual(before)
  const peer = await stand.peer('viewer')
  const { drill: kept, log, picture } = await peer.call('drills.get', { drill: told['drill'] as string })
  expect(kept).toMatchObject({
    machine: 'well',
    verdict: 'passed',
    accelerator: expect.stringMatching(/kvm|tcg/u) as string,
  })
  expect(kept.evidenceMs).toBeGreaterThan(kept.firmwareMs!)
  expect(log).toBe(told['log'])
  expect(isPicture(picture!)).toBe(true)
  const { point } = await peer.call('points.get', { point: points.get('well')! })
  expect(point.drill).toMatchObject({ id: kept.id, verdict: 'passed' })
  expect((await host.done('points', 'well')).stdout).toContain('passed ')
  const shown = await stand.done('drills', 'show', kept.id, '--tenant', 'acme', '--picture', stand.folder.join('a.png'))
  expect(shown.stdout).toContain('varve login:')
  expect(new Uint8Array(await readFile(stand.folder.join('a.png')))).toEqual(picture)
  expect((await peer.call('coverage.summary', {})).proof.drilledMs).toBe(kept.addedMs)
})

test('a machine that hangs fails within its limit, is told once, and is good again with the next one that passes', async () => {
  const ended = await drill('stuck', '--check', 'serial:login:', '--boot-limit', '3s').ended
  expect([ended.code, ended.stderr]).toEqual([7, expect.stringContaining('waiting for a disk that never comes')])
  await nothingLeft()
  expect(await drillsOf('stuck')).toMatchObject([{ verdict: 'failed', evidenceMs: null }])
  const peer = await stand.peer()
  const told = async () => (await peer.call('events.list', { kinds: ['drill.failed'], machine: 'stuck' })).events
  expect(await told()).toMatchObject([{ active: true, severity: 'error' }])
  expect((await drill('stuck', '--check', 'serial:login:', '--boot-limit', '3s').ended).code).toBe(7)
  expect(await told()).toHaveLength(1)
  await drill('stuck', '--check', 'serial:loading').ended
  expect(await told()).toMatchObject([{ active: false }, { active: true }])
})

test('a guest that resets for ever says so', async () => {
  const ended = await drill('resetting', '--check', 'serial:login:', '--boot-limit', '3s').ended
  expect([ended.code, ended.stderr]).toEqual([7, expect.stringMatching(/started anew \d+ times/u)])
})

test('a command of the host decides, with the sockets of the drill', async () => {
  const script = stand.folder.join('look.mjs')
  await writeFile(
    script,
    `import { createConnection } from 'node:net'
     const until = (path, words) => new Promise((resolve) => {
       let said = ''
       createConnection({ path }).on('data', (bytes) => (said += bytes, said.includes(words) && resolve(said)))
     })
     await until(process.env.VARVE_SERIAL, 'login:')
     await until(process.env.VARVE_QMP, 'QMP')
     console.log('all is well')
     process.exit(Number(process.argv[2]))`,
  )
  const run = (code: number): Promise<Outcome> =>
    drill('well', '--check', `command:${process.execPath} ${script} ${code}`, '--json').ended
  expect(answer(await run(0))).toMatchObject({
    verdict: 'passed',
    reason: expect.stringContaining('all is well') as string,
  })
  const failed = await run(3)
  expect([failed.code, answer(failed)]).toEqual([
    7,
    expect.objectContaining({ verdict: 'failed', reason: expect.stringContaining('ended with 3') as string }),
  ])
  await nothingLeft()
})

test('what a hostile console says moves nothing, and holds up nobody', async () => {
  const slow = await drill('hostile', '--check', 'serial:(a+)+\\d', '--boot-limit', '20s').ended
  expect([slow.code, slow.stderr]).toEqual([5, expect.stringContaining('make it simpler')])
  const ended = await drill('hostile', '--check', 'serial:nothing', '--boot-limit', '4s', '--json').ended
  expect(ended.code).toBe(7)
  const log = answer(ended)['log'] as string
  expect(log.length).toBeGreaterThan(1000)
  expect(log.length).toBeLessThanOrEqual(64 * KIB)
  // oxlint-disable-next-line no-control-regex
  expect(log).not.toMatch(/[\u0000-\u0008\u000B-\u001F]/u)
  await nothingLeft()
})

test('a machine without a channel of a guest agent is not tried without a check; what is wrong makes nothing', async () => {
  for (const [flags, words] of [
    [[], 'has no channel for a guest agent'],
    [['--check', 'serial:('], 'Invalid regular expression'],
    [['--check', 'luck'], '--check takes'],
  ] as const) {
    const ended = await drill('well', ...flags).ended
    expect([ended.code, ended.stderr]).toEqual([2, expect.stringContaining(words)])
  }
  const small = await drill('well', '--check', 'serial:login:', '--memory-max', '100T').ended
  expect(small.code).toBe(0)
  await nothingLeft()
})

/** The QEMU of a drill that is under way. */
const qemuOf = (program: Program): Promise<number> =>
  eventually(async () => {
    for (const pid of await program.children()) {
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
      if (line.startsWith('qemu-system') && existsSync(scratch)) return pid
    }
    return null
  })

test('one at a time; killed or interrupted nothing of it stays', async () => {
  const flags = ['--check', 'serial:never', '--boot-limit', '10m'] as const
  const first = drill('well', ...flags)
  const qemu = await qemuOf(first)
  expect(await readFile(`/proc/${qemu}/oom_score_adj`, 'utf8')).toBe('1000\n')
  const second = await drill('well', ...flags).ended
  expect([second.code, second.stderr]).toEqual([5, expect.stringContaining('another drill runs')])
  await first.end('SIGKILL')
  await eventually(async () => !(await isAlive(qemu)))
  expect(await readdir(scratch)).toHaveLength(1)
  const third = drill('well', ...flags)
  const other = await qemuOf(third)
  const [base] = await readdir(scratch)
  expect(await readdir(path.join(scratch, base!))).toHaveLength(1)
  expect(await third.end('SIGINT')).toMatchObject({ code: 130 })
  expect(await isAlive(other)).toBe(false)
  await nothingLeft()
})

test('a person with a token drills on a host without an agent; one who may only look does not', async () => {
  const run = async (role: 'operator' | 'viewer'): Promise<Outcome> => {
    const file = stand.folder.join(`${role}.token`)
    await writeFile(file, await stand.token(role), { mode: 0o600 })
    const way = ['--gateway', stand.url, '--token-file', file]
    return await new Program('agent', [
      'drill',
      'well',
      '--at',
      'now',
      '--scratch',
      scratch,
      '--check',
      'serial:login:',
      ...way,
    ]).ended
  }
  expect(await run('operator')).toMatchObject({ code: 0 })
  expect((await drillsOf('well'))[0]).toMatchObject({ by: 'test operator', verdict: 'passed' })
  expect(await run('viewer')).toMatchObject({ code: 4 })
  // the newest ones of a point
  expect(await drillsOf('well')).toHaveLength(3)
})

test('a point of which something is lost fails, and says what', async () => {
  const damager = new Damager(stand.dataFolder)
  const chunk = talkingDisk(TEXTS.well).subarray(TEXT_OFFSET, TEXT_OFFSET + 64 * KIB)
  await damager.flip(damager.chunkId(chunk))
  const ended = await drill('well', '--check', 'serial:login:', '--json').ended
  expect([ended.code, answer(ended)]).toEqual([
    7,
    expect.objectContaining({
      verdict: 'failed',
      reason: expect.stringContaining('disk vda cannot be read') as string,
    }),
  ])
  expect((await stand.point(points.get('well')!)).drill).toMatchObject({ verdict: 'failed' })
  await nothingLeft()
})
