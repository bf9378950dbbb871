// A break between the commit at the gateway and its acknowledgement at the agent: the point counts, on both sides.
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { openLocal } from '../../gateway/catalog/sqlite/database.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { bare, expectDisks, expectNothingLeft, withCheckpoint } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'

/** Ends what it does with the link whole, and agent and gateway there. */
export type BreakOff = (stand: Stand, host: Host) => Promise<void>

export const brokenAtCommit = async (breakOff: BreakOff): Promise<void> => {
  const dice = new Dice(90)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: 4 * MIB, content: dice.bytes(4 * MIB) },
    { id: 'vdb', format: 'raw', size: MIB },
  ])
  const before = bare(await machine.objects())
  await host.start()
  await host.backup('db1')
  await machine.write('vda', MIB, dice.bytes(64 * KIB))

  // the commit arrives, and its acknowledgement does not
  host.link.deafAfter('backup.commit')
  const { job } = await (await stand.peer()).call('backup.start', { machine: 'db1', full: false })
  await stand.begun(job)
  const model = machine.snapshot()
  await machine.write('vda', 3 * MIB, dice.bytes(64 * KIB))
  await machine.write('vdb', 0, dice.bytes(512))
  using catalog = openLocal(stand.catalogFile)
  const [tenant] = await catalog.tenants.list()
  const look = () => catalog.jobs.get({ tenant: tenant!.id, job })
  while ((await look())?.job.state === 'running') await sleep(1)
  // the agent does not know yet
  const entry = JSON.parse(await readFile(path.join(host.stateFolder, 'leases', `${job}.json`), 'utf8')) as object
  expect(entry).toMatchObject({ phase: 'active', outcome: null })
  await breakOff(stand, host)

  await expectNothingLeft(host, machine, withCheckpoint(before, host.checkpoint(job), machine.disks))
  expect(await stand.ended(job)).toMatchObject({ state: 'committed' })
  expectDisks(await stand.restore(job), model)
  const next = await host.backup('db1')
  expect(next).toMatchObject({ kind: 'incremental', reason: 'bitmap', bytesRead: 128 * KIB })
  expectDisks(await stand.restore(next.point), machine.snapshot())
  expect((await stand.listPoints()).slice(0, 2).map(({ id }) => id)).toEqual([next.point, job])
}
