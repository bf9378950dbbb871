// The host burned: of a machine there is what the gateway has. A person with a token gets it back on a bare host, in the steps of
// README's page, and its own guest checks every file.
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { inspectImage } from '../demo/inspect.ts'
import { buildGuest } from '../rig/build-guest.ts'
import { bootGuest, type GuestDisk } from '../rig/guest.ts'
import { assertComplete, promisedAt } from '../rig/reports.ts'
import { run } from '../rig/run.ts'
import { Program } from '../support/stand-program.ts'
import { Stand } from '../support/stand.ts'

/** Sizes of the guest's disks; it needs some room for its file systems. */
const DISKS = [
  { id: 'system', letter: 'a', format: 'qcow2', size: '64M' },
  { id: 'data', letter: 'b', format: 'raw', size: '96M' },
] as const

/** Files that the guest has written before each backup. */
const REPORTS = 20

/** Only a guest that hangs takes so long, in milliseconds. */
const LIMIT_MS = 600_000

const verified = /^VERIFY ok=(\d+) bad=(\d+)$/u

afterEach(() => {
  vi.unstubAllEnvs()
})

/** Tells what an ended command said; it must have succeeded. */
const done = async (program: Program): Promise<Record<string, unknown>> => {
  const { code, stdout, stderr } = await program.ended
  expect([code, stderr]).toEqual([0, expect.any(String)])
  return JSON.parse(stdout) as Record<string, unknown>
}

test('a machine runs again from the gateway alone, on a host that has no agent', { timeout: LIMIT_MS }, async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost({ name: 'burned' })
  const image = await buildGuest()
  const disks = DISKS.map(({ id, format, size }) => ({ id, format, size, file: `${host.folder}/${id}.${format}` }))
  for (const { file, format, size } of disks) await run('qemu-img', ['create', '-q', '-f', format, file, size])
  const [qmp, guestAgent] = [`${host.folder}/qmp`, `${host.folder}/qga`] as const
  const { folder } = host
  await using guest = await bootGuest({ image, folder, name: 'db1', disks, qmp: [qmp], guestAgent })
  const { reports } = guest
  await guest.said(/^READY /u)
  await host.start({ tables: ['[[machine]]', 'name = "db1"', `qmp = "${qmp}"`, `guest_agent = "${guestAgent}"`] })
  const taken = []
  for (let count = 1; count <= 2; count++) {
    await guest.reported(reports.length + REPORTS)
    const point = await host.backup('db1')
    taken.push({ ...point, endedMs: Date.now() })
  }
  const [first, last] = taken as [(typeof taken)[number], (typeof taken)[number]]
  expect([first.kind, last.kind, last.consistency]).toEqual(['full', 'incremental', 'frozen'])

  // it burns
  await host.end('SIGKILL')
  await guest.stop()
  assertComplete(reports)
  await rm(host.folder, { recursive: true })
  await stand.done('agent', 'revoke', host.agentId, '--tenant', 'acme')

  // a bare host: a program, a token and a folder
  const bare = stand.folder.join('bare')
  await mkdir(bare)
  vi.stubEnv('XDG_STATE_HOME', `${bare}/state`)
  vi.stubEnv('VARVE_GATEWAY', stand.url)
  vi.stubEnv('VARVE_TOKEN_FILE', `${bare}/token`)
  const issued = await stand.done('token', 'issue', '--tenant', 'acme', '--role', 'operator')
  await writeFile(`${bare}/token`, issued.stdout, { mode: 0o600 })
  const varve = (...args: readonly string[]): Promise<Record<string, unknown>> =>
    done(new Program('agent', [...args, '--json']))

  const { points } = (await varve('points', 'db1')) as { points: { id: string }[] }
  expect(points.map(({ id }) => id)).toEqual([last.point, first.point])
  const restored: GuestDisk[] = []
  for (const { id } of DISKS) {
    const file = `${bare}/${id}.raw`
    const told = await varve('restore', 'db1', '--at', 'now', '--disk', id, '--to', file)
    expect(told).toMatchObject({ point: last.point, lostBytes: 0 })
    restored.push({ id, file, format: 'raw' })
  }
  await varve('restore', 'db1', '--at', 'now', '--attachments', `${bare}/definition`)
  for (const [index, { letter }] of DISKS.entries()) {
    const promised = promisedAt(reports, letter, Date.parse(last.time), last.endedMs)
    expect(promised.present.length).toBeGreaterThan(0)
    await inspectImage(restored[index]!.file, `${bare}/files`, promised)
  }

  // as it was between the two backups
  const before = new Date(Date.parse(last.time) - 1).toISOString()
  const early = await varve('restore', 'db1', '--at', before, '--disk', 'data', '--to', `${bare}/early.raw`)
  expect(early).toMatchObject({ point: first.point })
  const promised = promisedAt(reports, 'b', Date.parse(first.time), first.endedMs)
  await inspectImage(`${bare}/early.raw`, `${bare}/files`, promised)

  const again = { image, folder: bare, name: 'db1', disks: restored, append: 'verify' }
  await using back = await bootGuest(again)
  const [, ok, bad] = verified.exec(await back.said(verified))!
  expect(Number(ok)).toBeGreaterThan(0)
  expect(Number(bad)).toBe(0)
  await back.ended()
})
