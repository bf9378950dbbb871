// A backup that is cut in the middle goes on where it was acknowledged, and neither guest nor point notices.
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { MIB, type ModelMachine } from '../support/model-machine.ts'
import { bare, expectDisks, expectNothingLeft, withCheckpoint } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { isAlive } from '../support/stand-program.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

// most of the time of these tests is waiting for bytes that are held back
vi.setConfig({ maxConcurrency: 3 })

const DISK_BYTES = 12 * MIB
const TOTAL_BYTES = DISK_BYTES + 4 * MIB

interface Scene extends AsyncDisposable {
  readonly stand: Stand
  readonly host: Host
  readonly machine: ModelMachine
}

/** A machine whose full backup takes more than three seconds. */
const scene = async (dice: Dice): Promise<Scene> => {
  const stand = await Stand.start()
  const host = await stand.addHost({ settings: { bandwidth: '5 MiB' } })
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
const disturbed = async (dice: Dice, disturb: (at: Scene) => Promise<void>): Promise<void> => {
  await using at = await scene(dice)
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

test.concurrent('after the link stalls for a while and breaks twice', () =>
  disturbed(new Dice(60), async ({ host }) => {
    host.link.stall()
    await sleep(1000)
    host.link.flow()
    host.link.cut()
    await host.agent.says(/the gateway is away[^]*connected to the gateway/)
    host.link.cut()
  }),
)

test.concurrent('after the agent is killed and started again', () =>
  disturbed(new Dice(61), async ({ host }) => {
    await host.end('SIGKILL')
    await host.start()
    await host.agent.says(/the backup continues after a restart/)
  }),
)

test.concurrent('after the agent is stopped and started again', () =>
  disturbed(new Dice(62), async ({ host }) => {
    expect((await host.end('SIGTERM')).code).toBe(0)
    await host.start()
    await host.agent.says(/the backup continues after a restart/)
  }),
)

test.concurrent('after the gateway is killed and started again', () =>
  disturbed(new Dice(63), async ({ stand }) => {
    await stand.endGateway('SIGKILL')
    await stand.startGateway()
  }),
)

test.concurrent('after the gateway is stopped and started again', () =>
  disturbed(new Dice(64), async ({ stand }) => {
    expect((await stand.endGateway('SIGTERM')).code).toBe(0)
    await stand.startGateway()
  }),
)

test.concurrent('the command follows its backup over a break of the link', async () => {
  await using at = await scene(new Dice(65))
  const command = at.host.command('backup', 'db1', '--json')
  const peer = await at.stand.peer()
  const { id } = await eventually(async () =>
    (await peer.call('jobs.list', { machine: 'db1', limit: 1 })).jobs.find(({ state }) => state === 'running'),
  )
  await at.stand.durable(id, 4 * MIB)
  at.host.link.cut()
  const { code, stdout } = await command.ended
  expect(code).toBe(0)
  expect(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({ point: { id, kind: 'full' } })
})
