// A domain of libvirt that runs from the gateway while its disks are brought in: it is defined once they stand alone, and a QEMU
// that is killed in any moment before has lost nothing.
import { readdir } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { askServer } from '../../agent/instant/control.ts'
import { placesIn } from '../../agent/instant/record.ts'
import { DomainHistory } from '../instant/domain-history.ts'
import { DomainStand } from '../instant/domain-stand.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { testSeeds } from '../support/seed.ts'
import type { Said } from '../support/stand-program.ts'
import { eventually } from '../support/temp.ts'

const dice = new Dice(16)
const CONTENT = Buffer.concat([dice.bytes(6 * MIB), Buffer.alloc(4 * MIB), dice.bytes(6 * MIB), Buffer.alloc(512)])
const SECOND = Buffer.concat([Buffer.alloc(MIB), dice.bytes(MIB)])
const DISKS = new Map([
  ['vda', CONTENT],
  ['vdb', SECOND],
])

let at: DomainStand

beforeAll(async () => {
  at = await DomainStand.start(DISKS)
})

afterAll(async () => {
  await at[Symbol.asyncDispose]()
})

const answer = ({ stdout }: Said): Record<string, unknown> =>
  JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>

test('a domain runs at once, and libvirt keeps it once its disks stand alone', async () => {
  const { host, libvirt } = at
  const to = await at.begin('at-once', '--speed', '2M')
  const domain = await at.runFrom(to)
  expect(await libvirt.control.isPersistent(domain)).toBe(false)
  expect(await libvirt.virsh('domblklist', 'db1')).toMatch(/at-once\/vda\.qcow2/u)
  const expected = Buffer.from(CONTENT)
  const bytes = dice.bytes(8 * KIB)
  await at.write(domain, 0, 3 * MIB + 512, bytes)
  expected.set(bytes, 3 * MIB + 512)
  expect((await host.run('instant', 'resume', to, '--start')).stderr).toContain('runs already')
  expect(answer(await host.done('instant', 'status', '--json'))).toMatchObject({
    instants: [{ folder: to, domain: 'db1', guest: 'running', kept: 'kept', problem: null }],
  })
  await host.done('instant', 'finish', to)
  expect(await libvirt.control.domainByName('db1')).toEqual(domain)
  expect(await libvirt.control.isPersistent(domain)).toBe(true)
  expect(await libvirt.virsh('dumpxml', '--inactive', 'db1')).not.toContain('nbd')
  await libvirt.virsh('destroy', 'db1')
  await at.checkAlone(to, new Map([...DISKS, ['vda', expected]]))
  expect((await readdir(to)).toSorted()).toEqual(['domain.xml', 'vda.qcow2', 'vdb.qcow2'])
  await libvirt.virsh('start', 'db1')
  await libvirt.virsh('destroy', 'db1')
  await libvirt.virsh('undefine', 'db1')
})

test('a QEMU that is killed as libvirt cuts a disk loose has lost nothing', async () => {
  const { host, libvirt } = at
  const to = await at.begin('cut-loose', '--speed', '16M')
  const expected = new Map([...DISKS].map(([name, content]) => [name, Buffer.from(content)]))
  const cut = Promise.withResolvers<void>()
  const unsubscribe = libvirt.control.subscribe((event) => {
    if (event.kind === 'block-job' && event.disk === 'vda' && event.state === 'completed') cut.resolve()
  })
  const domain = await at.runFrom(to)
  const bytes = dice.bytes(64 * KIB)
  await at.write(domain, 0, 9 * MIB, bytes)
  expected.get('vda')!.set(bytes, 9 * MIB)
  await cut.promise
  unsubscribe()
  await at.kill()
  // what is gone with its QEMU cannot be started on disks that are not complete
  await expect(libvirt.virsh('start', 'db1')).rejects.toThrow()
  await at.runFrom(to)
  await host.done('instant', 'finish', to)
  await libvirt.virsh('destroy', 'db1')
  await at.checkAlone(to, expected)
  await libvirt.virsh('undefine', 'db1')
})

test('a guest whose read fails is stopped, and goes on once the gateway is back; what runs is not abandoned by mistake', async () => {
  const { host, libvirt } = at
  const to = await at.begin('stopped', '--speed', '512K', '--reconnect-for', '10s')
  host.link.refuse()
  host.link.cut()
  await eventually(async () => (await askServer(placesIn(to).control, 'status'))?.away !== null)
  // its firmware reads the first sector
  const domain = await at.runFrom(to)
  const stateIs = (wanted: string) => async (): Promise<boolean> =>
    (await libvirt.control.domainState(domain)).state === wanted
  await eventually(stateIs('paused'))
  await host.link.accept()
  await eventually(stateIs('running'))
  expect((await host.run('instant', 'abandon', to, '--yes')).code).toBe(5)
  await host.done('instant', 'abandon', to, '--yes', '--lose-writes')
  await at.gone()
  expect(await readdir(at.temp.path)).not.toContain('stopped')
})

test.each(testSeeds(1))('a history with seed %i', async (seed) => {
  const steps: string[] = []
  const history = new DomainHistory({ at, disks: DISKS, dice: new Dice(seed), onStep: (one) => steps.push(one) })
  await history.run().catch((error: unknown) => {
    throw new Error(`after ${steps.join(', ')}`, { cause: error })
  })
})
