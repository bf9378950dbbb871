// Every full read has a reason that is stored and shown, and that a plan can refuse; an increment never hides one.
import { expect, test, vi } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB, type ModelDisk, type ModelMachine } from '../support/model-machine.ts'
import { bare, expectDisks, expectNothingLeft, withCheckpoint } from '../support/stand-checks.ts'
import type { BackupAnswer, Host } from '../support/stand-host.ts'
import { Stand, TENANT } from '../support/stand.ts'

vi.setConfig({ maxConcurrency: 2 })

/** Bytes of ids, records and tree nodes that a full read of a few MiB may cost although all of its chunks are known. */
const OVERHEAD_BYTES = 32 * KIB

const vda: ModelDisk = { id: 'vda', format: 'qcow2', size: 4 * MIB, content: new Dice(30).bytes(4 * MIB) }
const vdb: ModelDisk = { id: 'vdb', format: 'raw', size: 2 * MIB, content: new Dice(31).bytes(2 * MIB) }
const vdc: ModelDisk = { id: 'vdc', format: 'qcow2', size: 2 * MIB, content: new Dice(32).bytes(2 * MIB) }

interface Scene extends AsyncDisposable {
  readonly stand: Stand
  readonly host: Host
  readonly machine: ModelMachine
  /** Backs up after a write to each disk, and checks the point and what is left. */
  backUp(...flags: string[]): Promise<BackupAnswer>
}

const scene = async (disks: readonly ModelDisk[]): Promise<Scene> => {
  const dice = new Dice(33)
  const stand = await Stand.start()
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', disks)
  await host.start()
  return {
    stand,
    host,
    machine,
    backUp: async (...flags) => {
      for (const { id } of machine.disks) await machine.write(id, 64 * KIB * dice.below(32), dice.bytes(4096))
      const before = bare(await machine.objects())
      const answer = await host.backup('db1', ...flags)
      expectDisks(await stand.restore(answer.point), machine.snapshot())
      await expectNothingLeft(host, machine, withCheckpoint(before, host.checkpoint(answer.point), machine.disks))
      return answer
    },
    [Symbol.asyncDispose]: () => stand[Symbol.asyncDispose](),
  }
}

const reasonsOf = ({ disks }: BackupAnswer): Record<string, string> =>
  Object.fromEntries(disks.map(({ name, kind, reason }) => [name, `${kind} ${reason}`]))

test.concurrent('first, then requested: a full read that is asked for sends only what is new', async () => {
  await using at = await scene([vda, vdb])
  const first = await at.backUp()
  expect(first).toMatchObject({ kind: 'full', reason: 'first', bytesRead: 6 * MIB })
  const requested = await at.backUp('--full')
  expect(requested).toMatchObject({ kind: 'full', reason: 'requested', bytesRead: 6 * MIB })
  expect(requested.bytesSent).toBeLessThan(2 * 64 * KIB + OVERHEAD_BYTES)
  expect(reasonsOf(await at.backUp())).toEqual({ vda: 'incremental bitmap', vdb: 'incremental bitmap' })
})

test.concurrent(
  'an added disk is read in full beside increments of the others; a removed one is said to be left out',
  async () => {
    await using at = await scene([vda])
    await at.backUp()
    await at.machine.restart({ disks: [vda, vdc] })
    const added = await at.backUp()
    expect(added).toMatchObject({ kind: 'incremental', reason: 'disk-added' })
    expect(reasonsOf(added)).toEqual({ vda: 'incremental bitmap', vdc: 'full disk-added' })
    await at.machine.restart({ disks: [vdc] })
    const removed = await at.backUp()
    expect(reasonsOf(removed)).toEqual({ vdc: 'incremental bitmap' })
    expect(removed.reason).toBe('bitmap')
    expect([added.leftOut, removed.leftOut]).toEqual([[], [{ name: 'vda', reason: 'unplugged' }]])
  },
)

test.concurrent('an excluded disk is neither read nor given a bitmap', async () => {
  await using at = await scene([vda, vdb])
  await at.host.end('SIGTERM')
  await at.host.start({ exclude: ['vdb'] })
  const before = bare(await at.machine.objects())
  const answer = await at.host.backup('db1')
  expect(reasonsOf(answer)).toEqual({ vda: 'full first' })
  expect(answer.leftOut).toEqual([{ name: 'vdb', reason: 'excluded' }])
  await expectNothingLeft(at.host, at.machine, withCheckpoint(before, at.host.checkpoint(answer.point), [vda]))
})

test.concurrent('a resized disk is read in full for that reason, larger and smaller', async () => {
  await using at = await scene([vda, vdb])
  await at.backUp()
  await at.machine.resize('vda', 6 * MIB + 512)
  expect(reasonsOf(await at.backUp())).toEqual({ vda: 'full size-changed', vdb: 'incremental bitmap' })
  await at.machine.resize('vdb', MIB)
  await at.machine.resize('vdb', 2 * MIB + 512)
  expect(reasonsOf(await at.backUp())).toEqual({ vda: 'incremental bitmap', vdb: 'full size-changed' })
})

test.concurrent('a bitmap that QEMU could not keep, and one that it left inconsistent, are told apart', async () => {
  await using at = await scene([vda, vdb])
  await at.backUp()
  await at.machine.restart()
  expect(reasonsOf(await at.backUp()), 'clean restart').toEqual({
    vda: 'incremental bitmap',
    vdb: 'full bitmap-missing',
  })
  // the new checkpoint was never stored in the image
  await at.machine.restart({ crash: true })
  expect(reasonsOf(await at.backUp()), 'crash').toEqual({ vda: 'full bitmap-missing', vdb: 'full bitmap-missing' })
  // this one is stored, and then in use when QEMU is killed
  await at.machine.restart()
  await at.machine.write('vda', MIB, Buffer.alloc(512, 'stored'))
  await at.machine.restart({ crash: true })
  expect(reasonsOf(await at.backUp()), 'stored, then crash').toEqual({
    vda: 'full bitmap-inconsistent',
    vdb: 'full bitmap-missing',
  })
})

test.concurrent(
  'a plan refuses a full read before anything is touched; allowed again, it sends next to nothing',
  async () => {
    await using at = await scene([vda, vdb])
    const { point } = await at.backUp()
    await at.machine.restart()
    await at.stand.done(
      'plan',
      'set',
      'strict',
      '--cover-others',
      '--tenant',
      TENANT,
      '--refuse-full',
      'bitmap-missing,size-changed',
    )
    const before = await at.machine.objects()
    const refused = await at.host.run('backup', 'db1', '--json')
    expect(refused.code).toBe(5)
    expect(refused.stderr).toMatch(/vdb.*bitmap-missing.*FULL_REFUSED/)
    await expectNothingLeft(at.host, at.machine, before)
    expect((await at.stand.listPoints()).map(({ id }) => id)).toEqual([point])

    await at.stand.done('plan', 'set', 'strict', '--cover-others', '--tenant', TENANT, '--refuse-full', 'none')
    const allowed = await at.host.backup('db1')
    expect(reasonsOf(allowed)).toEqual({ vda: 'incremental bitmap', vdb: 'full bitmap-missing' })
    expect(allowed.bytesSent).toBeLessThan(OVERHEAD_BYTES)
    expect(allowed.bytesStored).toBe(0)
    expectDisks(await at.stand.restore(allowed.point), at.machine.snapshot())
  },
)
