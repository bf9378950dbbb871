// An agent that is killed at each step of a target's lease, between two commands to QEMU: what its next life finds is put right,
// and the next lease marks exactly what changed since the success that counts. Method: a real QEMU, an agent that dies before or
// after its n-th command, and a model of what was written when.
import { expect, test } from 'vitest'
import { TargetLeases } from '../../../agent/leases/target-leases.ts'
import type { HeldLease } from '../../../protocol/leases.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { startBench, type LeaseBench, type TestAgent } from '../../support/lease.ts'
import { run } from '../../support/run.ts'
import { tempFolder } from '../../support/temp.ts'

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined, debug: () => undefined }

const CHUNK = 65_536
const MIB = 1024 * 1024

const order = { machine: 'test', target: 'a', ttlMs: 60_000, full: false, consistency: 'none' } as const

const leasesOf = (bench: LeaseBench, agent: TestAgent, clock: HandClock): TargetLeases =>
  new TargetLeases({
    machines: [bench.configured],
    driverOf: () => agent.driver,
    begin: (request) => agent.driver.begin(request),
    journal: agent.journal,
    stateFolder: bench.stateFolder,
    freezeTimeoutMs: 10_000,
    jobOf: () => null,
    clock,
    log: quiet as never,
  })

const changedOf = async ({ disks: [disk] }: HeldLease): Promise<number[]> => {
  const { socket, exportName, changed } = disk!
  const text = await run('nbdinfo', [`--map=${changed}`, '--json', `nbd+unix:///${exportName}?socket=${socket}`])
  return (JSON.parse(text) as { offset: number; length: number; type: number }[])
    .filter(({ type }) => type !== 0)
    .flatMap(({ offset, length }) => Array.from({ length: length / CHUNK }, (_, index) => offset / CHUNK + index))
}

test('whichever command it dies at, nothing is left and nothing is missed', async () => {
  await using folder = await tempFolder()
  const disk = { id: 'vda', format: 'qcow2', file: folder.join('a.qcow2'), size: 64 * MIB } as const
  await using bench = await startBench(folder.path, [disk])
  const clock = new HandClock()
  /** How many chunks were written at the instant of each lease that began. */
  const writtenAt = new Map<string, number>()
  let written = 0
  const write = async (): Promise<void> => {
    await bench.write('vda', (written % 250) + 1, written * CHUNK, CHUNK)
    written += 1
  }
  const begin = async (leases: TargetLeases): Promise<HeldLease> => {
    const held = await leases.begin(order)
    writtenAt.set(held.lease, written)
    return held
  }
  {
    await using agent = await bench.agent()
    const leases = leasesOf(bench, agent, clock)
    const first = await begin(leases)
    await leases.end({ machine: 'test', lease: first.lease, success: true })
  }
  const outcomes = new Set<string>()
  for (let step = 0, died = true; died; step += 1) {
    for (const when of ['before', 'after'] as const) {
      await write()
      let left = step
      const victim = await bench.agent({ dies: () => (left-- === 0 ? when : null) })
      const dying = leasesOf(bench, victim, clock)
      const life = async (): Promise<'whole'> => {
        const held = await begin(dying)
        await dying.end({ machine: 'test', lease: held.lease, success: true })
        return 'whole'
      }
      const ended = await Promise.race([life(), victim.died.then(() => 'died' as const)])
      died = ended === 'died'
      void dying.stop()
      await victim[Symbol.asyncDispose]()

      await using agent = await bench.agent()
      const leases = leasesOf(bench, agent, clock)
      await leases.resume()
      const held = leases.of('test')
      outcomes.add(held === null ? 'over' : 'goes on')
      if (held !== null) {
        // its program never learned of it, or has waited
        if (!writtenAt.has(held.lease)) writtenAt.set(held.lease, written)
        await leases.end({ machine: 'test', lease: held.lease, success: true })
      }
      await write()
      const next = await begin(leases)
      const since = next.base === null ? null : (writtenAt.get(next.base.lease) ?? written - 1)
      const expected = Array.from({ length: written - (since ?? 0) }, (_, index) => (since ?? 0) + index)
      expect([step, when, await changedOf(next)]).toEqual([step, when, expected])
      await leases.end({ machine: 'test', lease: next.lease, success: false })
      const { exports, jobs, bitmaps } = (await bench.objects()) as {
        exports: unknown[]
        jobs: unknown[]
        bitmaps: string[]
      }
      expect([exports, jobs, bitmaps.length, await agent.journal.list()]).toEqual([[], [], 1, []])
    }
  }
  expect([...outcomes].toSorted()).toEqual(['goes on', 'over'])
}, 900_000)
