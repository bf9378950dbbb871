// A gateway whose clock is wrong for a while, with real machines: what is made meanwhile and what is made later.
import { expect, test, vi } from 'vitest'
import type { Peer } from '../../protocol/peer.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import { Stand, TENANT } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

vi.setConfig({ testTimeout: 240_000 })

const DAY_MS = 24 * 60 * 60 * 1000

/** Starts a backup in a session that is open already, as tokens are refused while the clock is wrong; the point. */
const backUpFrom = async (peer: Peer, machine: string): Promise<string> => {
  const { job } = await peer.call('backup.start', { machine, full: false })
  return await eventually(async () => {
    const { jobs } = await peer.call('jobs.list', { machine, limit: 100 })
    const found = jobs.find(({ id }) => id === job)
    if (found?.state === 'failed') throw new Error(found.error?.message)
    return found?.state === 'committed' ? job : null
  })
}

test.each([
  ['ahead', 30 * DAY_MS],
  ['back', -30 * DAY_MS],
])(
  'one backup while the clock is set %s leaves the later ones increments, and takes none of their places',
  async (_, setMs) => {
    const dice = new Dice(61)
    await using stand = await Stand.start({ ownClock: true })
    const host = await stand.addHost()
    const disk = { id: 'vda', format: 'qcow2', size: 4 * MIB, content: dice.bytes(4 * MIB) } as const
    const machine = await host.addMachine('db1', [disk])
    await host.start()
    const write = (): Promise<void> => machine.write('vda', 64 * KIB * dice.below(64), dice.bytes(4096))
    const made = [(await host.backup('db1')).point]

    const peer = await stand.peer('owner')
    await stand.setClock(setMs)
    await write()
    const wrong = await backUpFrom(peer, 'db1')
    expectDisks(await stand.restore(wrong), machine.snapshot())
    await stand.setClock(0)
    // an agent whose session was not renewed meanwhile comes back
    await eventually(async () => (await peer.call('machines.list', {})).machines[0]?.online ?? null)
    for (let round = 0; round < 2; round++) {
      await write()
      const answer = await host.backup('db1')
      expect(answer.disks).toMatchObject([{ kind: 'incremental', reason: 'bitmap' }])
      expectDisks(await stand.restore(answer.point), machine.snapshot())
      made.push(answer.point)
    }
    const last = made.at(-1)!
    const { machines } = await peer.call('machines.list', {})
    expect(machines[0]?.lastPoint?.id).toBe(last)
    const future = (await stand.listPoints()).filter((point) => point.future).map(({ id }) => id)
    expect(future).toEqual(setMs > 0 ? [wrong] : [])
    const shown = await stand.done('prune', '--tenant', TENANT, '--keep-last', '1', '--dry-run')
    expect(shown.stdout.match(/stays: future/g) ?? []).toHaveLength(future.length)

    await stand.done('prune', '--tenant', TENANT, '--keep-last', '1')
    expect((await stand.listPoints()).map(({ id }) => id)).toEqual([...future, last])
    expectDisks(await stand.restore(last), machine.snapshot())
  },
)
