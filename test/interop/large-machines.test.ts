// Machines of thirty disks and of disks of 16 TiB, end to end: backup, increment, and what an export of the points holds.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { run } from '../support/run.ts'
import { TestMachine, type TestDisk } from '../support/qemu.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'

const MIB = 1024 ** 2
const TIB = 1024 ** 4
const KIB64 = 65_536

/** A raw file may be little smaller than 16 TiB on ext4. */
const RAW_BYTES = 16 * TIB - MIB

let stand: Stand
let host: Host

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost()
})

afterAll(async () => {
  await stand[Symbol.asyncDispose]()
})

const serve = async (name: string, machine: TestMachine): Promise<void> => {
  const settings = { tables: [`[[machine]]\nname = "${name}"\nqmp = "${machine.qmpPath}"\n`] }
  if (host.hasAgent) await host.reload(settings)
  else await host.start(settings)
}

/** That each place of a disk of a point has the bytes of a pattern. */
const expectPatterns = async (
  point: string,
  disk: string,
  places: readonly (readonly [pattern: number, offset: number])[],
): Promise<void> => {
  const socket = stand.folder.join('export.sock')
  await using served = host.command('export', point, '--socket', socket)
  await served.says(/nbd\+unix|"exported"/u)
  const reads = places.flatMap(([pattern, offset]) => ['-c', `read -P ${pattern} ${offset} ${KIB64}`])
  const said = await run('qemu-io', ['-r', '-f', 'raw', ...reads, `nbd+unix:///${disk}?socket=${socket}`])
  expect(said).not.toContain('verification failed')
  expect(said.match(/read \d+\/\d+ bytes/gu)?.length).toBe(places.length)
  expect(await served.end('SIGTERM')).toMatchObject({ code: 0 })
}

test('thirty disks of one machine are of one point, and of the next', async () => {
  const folder = stand.folder.join('many')
  await run('mkdir', [folder])
  const names = Array.from({ length: 30 }, (_, index) => `disk${index}`)
  const extra = ['-device', 'virtio-scsi-pci,id=hba']
  for (const [lun, name] of names.entries()) {
    const filename = `${folder}/${name}`
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', filename, String(MIB)])
    const node = { driver: 'qcow2', 'node-name': name, file: { driver: 'file', filename } }
    extra.push('-blockdev', JSON.stringify(node))
    extra.push('-device', `scsi-hd,bus=hba.0,scsi-id=0,lun=${lun},drive=${name},id=${name}`)
  }
  await using machine = new TestMachine({ folder, disks: [], extra })
  await machine.start()
  await serve('many', machine)
  const write = async (add: number, offset: number): Promise<void> => {
    for (const [index, name] of names.entries())
      await machine.guestIo(`/machine/peripheral/${name}`, `write -P ${add + index} ${offset} ${KIB64}`)
  }
  await write(1, 0)
  const first = await host.backup('many', '--wait')
  expect(first.disks.map(({ name }) => name).toSorted()).toEqual(names.toSorted())
  await write(101, KIB64)
  const second = await host.backup('many')
  expect(new Set(second.disks.map(({ kind, changedBytes }) => `${kind} ${changedBytes}`))).toEqual(
    new Set([`incremental ${KIB64}`]),
  )
  for (const index of [0, 17, 29]) {
    await expectPatterns(first.point, names[index]!, [
      [1 + index, 0],
      [0, KIB64],
    ])
    await expectPatterns(second.point, names[index]!, [
      [1 + index, 0],
      [101 + index, KIB64],
    ])
  }
})

test('sparse disks of 16 TiB, a qcow2 and a raw one: their last bytes too, and increments', async () => {
  const folder = stand.folder.join('large')
  await run('mkdir', [folder])
  const disks: readonly TestDisk[] = [
    { id: 'vda', format: 'qcow2', file: `${folder}/a`, size: 16 * TIB },
    { id: 'vdb', format: 'raw', file: `${folder}/b`, size: RAW_BYTES },
  ]
  await using machine = new TestMachine({ folder, disks })
  await machine.start()
  await serve('large', machine)
  const places = ({ size }: TestDisk): number[] => [0, 9 * TIB, size - KIB64]
  for (const disk of disks) for (const at of places(disk)) await machine.guestWrite(disk.id, 0x11, at, KIB64)
  const first = await host.backup('large', '--wait')
  expect(first.disks.map(({ name, size }) => [name, size])).toEqual(disks.map(({ id, size }) => [id, size]))
  for (const disk of disks) await machine.guestWrite(disk.id, 0x22, 9 * TIB, KIB64)
  for (const disk of disks) await machine.guestZero(disk.id, disk.size - KIB64, KIB64)
  const second = await host.backup('large')
  expect(second.disks.map(({ kind, changedBytes }) => [kind, changedBytes])).toEqual([
    ['incremental', 2 * KIB64],
    ['incremental', 2 * KIB64],
  ])
  for (const disk of disks) {
    const [begin = 0, middle = 0, end = 0] = places(disk)
    await expectPatterns(first.point, disk.id, [
      [0x11, begin],
      [0x11, middle],
      [0x11, end],
    ])
    await expectPatterns(second.point, disk.id, [
      [0x11, begin],
      [0x22, middle],
      [0, end],
    ])
  }
})
