// A backup that is disturbed in the middle: what has to hold after it, whatever disturbed it.
import { expect } from 'vitest'
import type { Mode } from '../../agent/drivers/qmp/modes.ts'
import type { Dice } from '../support/model-dice.ts'
import { MIB, type ModelMachine } from '../support/model-machine.ts'
import { bare, expectDisks, expectNothingLeft, withCheckpoint } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { isAlive } from '../support/stand-program.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

const DISK_BYTES = 12 * MIB
const TOTAL_BYTES = DISK_BYTES + 4 * MIB

export interface Scene extends AsyncDisposable {
  readonly stand: Stand
  readonly host: Host
  readonly machine: ModelMachine
}

/** A machine whose full backup takes more than three seconds. */
export const scene = async (dice: Dice, mode: Mode = 'pull'): Promise<Scene> => {
  const stand = await Stand.start()
  const host = await stand.addHost({ settings: { bandwidth: '5 MiB', mode } })
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: DISK_BYTES, content: dice.bytes(DISK_BYTES) },
    { id: 'vdb', format: 'raw', size: 4 * MIB, content: dice.bytes(4 * MIB), iothread: true },
  ])
  await host.start()
  return { stand, host, machine, [Symbol.asyncDispose]: () => stand[Symbol.asyncDispose]() }
}

/** A guest that writes until it is stopped; a write that fails fails the test. */
const busyGuest = (machine: ModelMachine, dice: Dice): (() => Promise<number>) => {
  let stopped = false
  let writes = 0
  const work = (async () => {
    while (!stopped) {
      await machine.touch(dice)
      writes++
      await new Promise((resolve) => void setTimeout(resolve, 20))
    }
  })()
  return async () => {
    stopped = true
    await work
    return writes
  }
}

/** Backs up, disturbs it when a part is durable, and checks everything that must hold afterwards. */
export const disturbed = async (
  dice: Dice,
  disturb: (at: Scene) => Promise<void>,
  mode: Mode = 'pull',
): Promise<void> => {
  await using at = await scene(dice, mode)
  const { stand, host, machine } = at
  const before = bare(await machine.objects())
  const peer = await stand.peer()
  const { job } = await peer.call('backup.start', { machine: 'db1', full: false })
  await stand.begun(job)
  const model = machine.snapshot()
  const guards = await host.agent.children()
  expect(guards.length).toBeGreaterThan(0)
  const stopGuest = busyGuest(machine, dice)
  await stand.durable(job, 4 * MIB)
  await disturb(at)
  expect(await stand.ended(job)).toMatchObject({ state: 'committed', error: null })
  expect(await stopGuest()).toBeGreaterThan(0)
  expect(host.link.upBytes).toBeLessThan(1.75 * TOTAL_BYTES)
  expectDisks(await stand.restore(job), model)
  await expectNothingLeft(host, machine, withCheckpoint(before, host.checkpoint(job), machine.disks))
  await eventually(async () => (await Promise.all(guards.map(isAlive))).every((alive) => !alive))

  // what the guest wrote meanwhile is in the next increment
  await host.end('SIGTERM')
  await host.start({ bandwidth: '100 MiB' })
  const next = await host.backup('db1')
  expect(next).toMatchObject({ kind: 'incremental', reason: 'bitmap' })
  expectDisks(await stand.restore(next.point), machine.snapshot())
}
