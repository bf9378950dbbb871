// A lease that goes on, breaks, or is given up: adoption after a restart, scratch space, and who may not be believed.
import { readFile, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { JournalEntry } from '../../../../agent/drivers/journal.ts'
import type { Lease, LeaseBase } from '../../../../agent/drivers/driver.ts'
import type { ReadReason } from '../../../../protocol/backup.ts'
import {
  asBase,
  checkpointsOf,
  MIB,
  startBench,
  threeDisks,
  type LeaseBench,
  type TestAgent,
} from '../../../support/lease.ts'
import { qemuMajor } from '../../../support/qemu.ts'
import { isAlive, type Program } from '../../../support/stand-program.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

const allocatedBytes = async (path: string): Promise<number> =>
  (await stat(path).catch(() => ({ blocks: 0 }))).blocks * 512

test('a lease whose job was cancelled is lost, and its export is not believed', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const untouched = await bench.objects()
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  const jobs = (await bench.machine.control.execute('query-jobs')) as { id: string }[]
  await bench.machine.control.execute('block-job-cancel', { device: jobs[0]?.id })
  await expect(lease.check()).rejects.toMatchObject({ code: 'LEASE_LOST' })
  expect(await lease.lost).toMatchObject({ code: 'LEASE_LOST' })
  const [entry] = await agent.journal.list()
  await lease.end('failed')
  expect(await bench.objects()).toEqual(untouched)
  if (entry === undefined) throw new Error('the journal is empty')
  expect(await agent.driver.adopt(entry)).toBe(null)
})

test.each([
  ['quit', 'its QEMU has ended (host-qmp-quit)'],
  ['kill9', 'its QEMU has ended'],
] as const)('a lease whose QEMU ended (%s) says that, and not what it broke', async (how, says) => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await bench.machine[how]()
  expect(await lease.lost).toMatchObject({ code: 'LEASE_LOST', message: expect.stringContaining(says) })
  await lease.end('failed').catch(() => undefined)
})

test('a machine that begins to move to another host loses its lease, before it is gone', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const untouched = await bench.objects()
  const { control } = bench.machine
  await using agent = await bench.agent()
  const lease = await agent.driver.begin(bench.request())
  await control.execute('migrate-set-parameters', { 'max-bandwidth': 4096 })
  await control.execute('migrate', { uri: 'exec:cat >/dev/null' })
  const statusOf = async (): Promise<unknown> =>
    ((await control.execute('query-migrate')) as { status: unknown }).status
  await eventually(async () => (await statusOf()) === 'active')
  await expect(lease.check()).rejects.toMatchObject({
    code: 'MACHINE_MOVING',
    message: expect.stringContaining('it is moving to another host (migration active)'),
  })
  expect(await lease.lost).toMatchObject({ code: 'MACHINE_MOVING' })
  await control.execute('migrate_cancel')
  await eventually(async () => (await statusOf()) === 'cancelled')
  await lease.end('failed')
  expect(await bench.objects()).toEqual(untouched)
})

describe('what a comparison showed', () => {
  /** A lease on three disks that are all read by their bitmaps. */
  const increment = async (
    bench: LeaseBench,
    agent: TestAgent,
    refuseFull: ReadReason[] = [],
  ): Promise<Lease & { readonly base: LeaseBase & { readonly checkpoint: string } }> => {
    const first = await agent.driver.begin(bench.request())
    await first.end('committed')
    for (const disk of ['vda', 'vdb', 'vdc']) await bench.write(disk, 0x11, 0, 65_536)
    const base = asBase(first)
    const lease = await agent.driver.begin(bench.request({ base, refuseFull }))
    expect(lease.disks.map(({ kind }) => kind)).toEqual(['incremental', 'incremental', 'incremental'])
    return Object.assign(lease, { base })
  }

  const journalOf = async ({ journal }: TestAgent): Promise<JournalEntry> => {
    const [entry] = await journal.list()
    if (entry === undefined) throw new Error('the journal is empty')
    return entry
  }

  test('no difference: the counts are known, and nothing is written', async () => {
    await using folder = await tempFolder()
    await using bench = await startBench(folder.path, threeDisks(folder.path))
    await using agent = await bench.agent()
    const lease = await increment(bench, agent)
    const before = lease.disks
    const journalled = await journalOf(agent)
    await lease.compared(
      new Map([
        ['vda', { chunks: 16, missed: false }],
        ['vdc', { chunks: 0, missed: false }],
        ['theirs', { chunks: 5, missed: false }],
      ]),
    )
    expect(lease.disks).toEqual([{ ...before[0], comparedChunks: 16 }, before[1], before[2]])
    expect(await journalOf(agent)).toEqual(journalled)
    await lease.check()
    await lease.end('failed')
  })

  test('a missed change: that disk is read in full from now on, also by the next start of the agent', async () => {
    await using folder = await tempFolder()
    await using bench = await startBench(folder.path, threeDisks(folder.path))
    const first = await bench.agent()
    const lease = await increment(bench, first)
    const [vda, vdb, vdc] = lease.disks
    const expected = bench.snapshot()
    await lease.compared(
      new Map([
        ['vda', { chunks: 3, missed: false }],
        ['vdb', { chunks: 7, missed: true }],
      ]),
    )
    const full = { kind: 'full', reason: 'changes-missed', base: null, dirtyContext: null, reread: [] } as const
    const after = [{ ...vda!, comparedChunks: 3 }, { ...vdb!, ...full, comparedChunks: 7 }, vdc!]
    expect(lease.disks).toEqual(after)
    await first[Symbol.asyncDispose]()
    await bench.write('vdb', 0x22, MIB, MIB)

    await using second = await bench.agent()
    const adopted = await second.driver.adopt(await journalOf(second))
    expect(adopted?.disks).toEqual(after)
    for (const disk of adopted!.disks)
      expect((await bench.content(disk)).equals(expected.get(disk.name) ?? Buffer.alloc(0))).toBe(true)
    await adopted!.end('committed')
    const { bitmaps } = (await bench.objects()) as { bitmaps: unknown }
    expect(bitmaps).toEqual(checkpointsOf(lease.id, ['vda', 'vdb', 'vdc']))
    // the checkpoint is worth what it is after any full read
    const next = await second.driver.begin(bench.request({ base: asBase(adopted!) }))
    expect(next.disks.map(({ kind }) => kind)).toEqual(['incremental', 'incremental', 'incremental'])
    await next.end('failed')
  })

  test('a policy that refuses full reads for it ends the backup', async () => {
    await using folder = await tempFolder()
    await using bench = await startBench(folder.path, threeDisks(folder.path))
    await using agent = await bench.agent()
    const lease = await increment(bench, agent, ['changes-missed'])
    await lease.compared(new Map([['vda', { chunks: 1, missed: false }]]))
    await expect(lease.compared(new Map([['vdb', { chunks: 7, missed: true }]]))).rejects.toMatchObject({
      code: 'FULL_REFUSED',
      details: { disk: 'vdb', reason: 'changes-missed' },
    })
    await lease.end('failed')
  })

  test('other reasons in the policy do not refuse it', async () => {
    await using folder = await tempFolder()
    await using bench = await startBench(folder.path, threeDisks(folder.path))
    await using agent = await bench.agent()
    const lease = await increment(bench, agent, ['bitmap-missing', 'requested'])
    await lease.compared(new Map([['vdb', { chunks: 7, missed: true }]]))
    expect(lease.disks[1]).toMatchObject({ kind: 'full', reason: 'changes-missed' })
    await lease.end('failed')
  })
})

test('a lease lives through a broken QMP connection', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const first = await bench.agent()
  const lease = await first.driver.begin(bench.request())
  const outcome = Promise.race([lease.lost, eventually(() => false, 500).catch(() => 'held')])
  const client = first.client()
  client.close()
  await lease.check()
  expect(await outcome).toBe('held')
  await lease.end('failed')
  await first[Symbol.asyncDispose]()
})

test.each(qemuMajor() >= 9 ? (['on', 'off'] as const) : (['off'] as const))(
  'scratch space (%s): the backup is given up before a guest write can fail',
  async (fleecing) => {
    await using folder = await tempFolder()
    await using bench = await startBench(folder.path, threeDisks(folder.path))
    bench.fleecing = fleecing
    const untouched = await bench.objects()
    for (const disk of ['vda', 'vdb', 'vdc']) await bench.write(disk, 0x11, 0, 4 * MIB)
    // a file system with room for 6 MiB of old blocks, of which 3 MiB stay free
    const room = 6 * MIB
    const freeBytes = async (path: string): Promise<number> => {
      const files = await Promise.all(
        [0, 1, 2].map((index) => allocatedBytes(`${path}/${index}.${fleecing === 'on' ? 'raw' : 'qcow2'}`)),
      )
      return room - files.reduce((sum, bytes) => sum + bytes, 0)
    }
    await using agent = await bench.agent({ reserveBytes: 3 * MIB, freeBytes })
    const lease = await agent.driver.begin(bench.request())
    await bench.write('vda', 0x22, 0, 2 * MIB)
    await bench.write('vdb', 0x22, 0, 2 * MIB)
    expect(await lease.lost).toMatchObject({ code: 'SCRATCH_LOW' })
    await eventually(async () => ((await bench.machine.control.execute('query-jobs')) as unknown[]).length === 0)
    for (const disk of ['vda', 'vdb', 'vdc']) await bench.write(disk, 0x33, 0, 4 * MIB)
    expect(await freeBytes(folder.join('state', 'scratch', lease.id))).toBeGreaterThan(0)
    await expect(lease.check()).rejects.toMatchObject({ code: 'SCRATCH_LOW' })
    await lease.end('failed')
    expect(await bench.objects()).toEqual(untouched)
  },
)

const jobCount = async (bench: LeaseBench): Promise<number> =>
  ((await bench.machine.control.execute('query-jobs')) as unknown[]).length

/** An agent of its own process with a lease of three jobs. */
const startVictim = async (bench: LeaseBench, reserveBytes: number): Promise<Program> => {
  const victim = await bench.victim(bench.request(), reserveBytes)
  expect(await jobCount(bench)).toBe(3)
  return victim
}

/** Whatever became of the lease, the next agent leaves nothing of it. */
const expectSettled = async (bench: LeaseBench, untouched: unknown): Promise<void> => {
  await using agent = await bench.agent()
  for (const entry of await agent.journal.list()) {
    expect(await agent.driver.adopt(entry)).toBe(null)
    await agent.driver.settle(entry, 'failed')
  }
  expect(await bench.objects()).toEqual(untouched)
}

/** More than any file system has: the space is low for whoever looks. */
const NEVER_ENOUGH = 2 ** 60

test('while the agent is dead the guard gives the backup up, and the guest goes on', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const untouched = await bench.objects()
  await using victim = await startVictim(bench, NEVER_ENOUGH)
  await victim.end('SIGKILL')
  await eventually(async () => (await jobCount(bench)) === 0)
  await bench.write('vda', 0x33, 0, 4 * MIB)
  await expectSettled(bench, untouched)
})

test.each(['SIGSTOP', 'SIGUSR2'] as const)(
  'an agent that hangs (%s) is ended by its guard, which gives the backup up and says so',
  async (signal) => {
    await using folder = await tempFolder()
    await using bench = await startBench(folder.path, threeDisks(folder.path))
    const untouched = await bench.objects()
    await using victim = await startVictim(bench, NEVER_ENOUGH)
    // an agent that lives is left to do it itself
    await sleep(1_500)
    expect(victim.running).toBe(true)
    victim.signal(signal)
    expect(await victim.ended).toMatchObject({ signal: 'SIGKILL' })
    await eventually(async () => (await jobCount(bench)) === 0)
    await bench.write('vda', 0x33, 0, 4 * MIB)
    const warnings: string[] = []
    await using next = await bench.agent({ warn: (_details, message) => void warnings.push(message) })
    await next.driver.watchLeft()
    await eventually(() => warnings.some((message) => message.includes('which hung')))
    for (const entry of await next.journal.list()) await next.driver.settle(entry, 'failed')
    expect(await bench.objects()).toEqual(untouched)
  },
)

test('a hanging agent is left alone while there is space', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using victim = await startVictim(bench, 1)
  victim.signal('SIGSTOP')
  await sleep(3_000)
  expect(victim.running).toBe(true)
  expect(await jobCount(bench)).toBe(3)
})

test('a guard that is killed or stopped is replaced, and the next one does its work', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const untouched = await bench.objects()
  await using victim = await startVictim(bench, NEVER_ENOUGH)
  const [scratch = ''] = await readdir(join(bench.stateFolder, 'scratch'))
  const onDuty = (): Promise<string> => readFile(join(bench.stateFolder, 'scratch', scratch, 'guard'), 'utf8')
  for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
    const before = await onDuty()
    const [guard = 0] = await victim.children()
    process.kill(guard, signal)
    await eventually(async () => (await onDuty()) !== before, 40_000)
    await eventually(async () => !(await isAlive(guard)))
  }
  await victim.end('SIGKILL')
  await eventually(async () => (await jobCount(bench)) === 0)
  await expectSettled(bench, untouched)
})

test('agent and guard both killed: the next agent watches from its start on, before it knows what became of the lease', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  const untouched = await bench.objects()
  await using victim = await startVictim(bench, 1)
  const guards = await victim.children()
  await victim.end('SIGKILL')
  for (const guard of guards) process.kill(guard, 'SIGKILL')
  await using next = await bench.agent({ reserveBytes: NEVER_ENOUGH })
  await next.driver.watchLeft()
  await eventually(async () => (await jobCount(bench)) === 0)
  await bench.write('vda', 0x33, 0, 4 * MIB)
  for (const entry of await next.journal.list()) await next.driver.settle(entry, 'failed')
  expect(await bench.objects()).toEqual(untouched)
})

test('the scratch folder of a dead agent’s lease is removed: the guard gives the backup up', async () => {
  await using folder = await tempFolder()
  await using bench = await startBench(folder.path, threeDisks(folder.path))
  await using victim = await startVictim(bench, 1)
  await victim.end('SIGKILL')
  await rm(join(bench.stateFolder, 'scratch'), { recursive: true })
  await eventually(async () => (await jobCount(bench)) === 0)
  await bench.write('vda', 0x33, 0, 4 * MIB)
})
