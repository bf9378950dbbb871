// Machines of one tenant share what they have in common, and only what each can prove to hold.
import { expect, test, vi } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import { Stand } from '../support/stand.ts'

vi.setConfig({ maxConcurrency: 2 })

const CHUNKS = (16 * MIB) / (64 * KIB)

/** Of an id and its proof, for each chunk, with room for frames. */
const PROOF_COST_BYTES = 160

test.concurrent(
  'the second of two machines with identical disks sends proofs and no chunks, stores nothing, and restores',
  async () => {
    const content = new Dice(50).bytes(16 * MIB)
    await using stand = await Stand.start()
    const first = await stand.addHost()
    const second = await stand.addHost()
    const golden = await first.addMachine('golden', [{ id: 'vda', format: 'qcow2', size: 16 * MIB, content }])
    const copy = await second.addMachine('copy', [{ id: 'sda', format: 'raw', size: 16 * MIB, content }])
    await first.start()
    await second.start()
    const one = await first.backup('golden')
    expect(one.bytesStored).toBeGreaterThan(16 * MIB)

    const upBefore = second.link.upBytes
    const two = await second.backup('copy')
    expect(two).toMatchObject({ kind: 'full', reason: 'first', bytesRead: 16 * MIB })
    // its own command line, and nothing of its disk
    expect(two.bytesStored).toBeLessThan(KIB)
    expect(two.bytesSent).toBeLessThan(CHUNKS * PROOF_COST_BYTES)
    // on the wire there is besides this what the command and the connection say
    expect(second.link.upBytes - upBefore).toBeLessThan(CHUNKS * PROOF_COST_BYTES + 64 * KIB)
    expectDisks(await stand.restore(two.point), copy.snapshot())

    // what only one of them writes afterwards stays its own
    await copy.write('sda', 3 * MIB, new Dice(51).bytes(MIB))
    const three = await second.backup('copy')
    expectDisks(await stand.restore(three.point), copy.snapshot())
    expectDisks(await stand.restore(one.point), golden.snapshot())
  },
)

test.concurrent('equal content within one machine is sent once', async () => {
  const dice = new Dice(52)
  const part = dice.bytes(MIB)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const content = Buffer.concat([part, part, part, part])
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: 4 * MIB, content },
    { id: 'vdb', format: 'raw', size: 4 * MIB, content },
  ])
  await host.start()
  const { point, bytesStored, bytesSent } = await host.backup('db1')
  expect(bytesStored).toBeLessThan(MIB + 64 * KIB)
  expect(bytesSent).toBeLessThan(MIB + 64 * KIB)
  // content that moved is known too
  await machine.write('vdb', MIB / 2 - MIB / 4, part)
  const moved = await host.backup('db1')
  expect(moved.bytesStored).toBeLessThan(32 * KIB)
  expectDisks(await stand.restore(moved.point), machine.snapshot())
  expect((await stand.restore(point)).get('vdb')?.equals(content)).toBe(true)
})
