// Disks from which a machine boots: one that says something on its serial port, and one with a real Linux.
import { readFile } from 'node:fs/promises'
import type { GuestImage } from '../../rig/build-guest.ts'

const SECTOR = 512

/** Of talker.s and linux.s beside this file, assembled. */
const TALKER = Buffer.from(
  [
    '+jHAjtiOwI7QvAB8+4gWY3z8vmR8tEKKFmN8zRO+AIBzA75JfKyEwHQcPAF05DwCdBBQuv0D7KggdPtYuvgD7uvjsP7mZPTr/XRo',
    'ZSBkaXNrIGNhbm5vdCBiZSByZWFkDQoAABAACAAAgA==',
  ].join(''),
  'base64',
)
const LINUX = Buffer.from(
  [
    '+jHAjtiOwI7QvAB8+4gWrHz8voB9Zq1mhcB0T2ajsHxmrWajvHyticFWUb60fLRCihasfM0TcklmobB8o+J8ZsHoEKLkfIgm53y+',
    'yHy5AEC0h80VcitmgQawfACAAABmgwa8fEBZXuLA66r6uACQjtiOwI7gjuiO0LwA4OoAACCQvpJ8rITAdAa6+APu6/X06/10aGUg',
    'ZGlzayBjYW5ub3QgYmUgcmVhZA0KAACNdAAAAAAAEABAAAAAABAAAAAAAAAAAI20AAAAAAAAAAAAAAAAAAAAAAAA//8AAAGTAAD/',
    '/wAAAJM=',
  ].join(''),
  'base64',
)

/** Where their tables are. */
const TALKER_LBA = 0x6c
const LINUX_TABLE = 0x180

/** What the talker reads, in sectors and bytes. */
const TEXT_LBA = 2048
export const TEXT_BYTES = 8 * SECTOR
export const TEXT_OFFSET = TEXT_LBA * SECTOR

const BLOCK = 64 * SECTOR

const bootable = (program: Buffer, bytes: number): Buffer => {
  const disk = Buffer.alloc(bytes)
  disk.set(program)
  disk.writeUInt16LE(0xaa55, SECTOR - 2)
  return disk
}

/** A disk of 2 MiB; the text ends at a 0, begins anew at a 1, and resets the machine at a 2. */
export const talkingDisk = (text: string): Buffer => {
  const disk = bootable(TALKER, TEXT_OFFSET + 1024 * 1024)
  disk.writeUInt32LE(TEXT_LBA, TALKER_LBA)
  disk.write(text.slice(0, TEXT_BYTES - 1), TEXT_OFFSET, 'latin1')
  return disk
}

/** Addresses in memory, as Linux's protocol of booting has them; the guest needs 192 MiB. */
const AT = { setup: 0x90000, arguments: 0x9e000, kernel: 0x10_0000, initrd: 0x600_0000 }

/** A disk with the kernel and the initial file system of the test guest. */
export const linuxDisk = async ({ kernel, initrd }: GuestImage, args: string, bytes: number): Promise<Buffer> => {
  const image = await readFile(kernel)
  const files = await readFile(initrd)
  const setupBytes = ((image[0x1f1] || 4) + 1) * SECTOR
  const setup = Buffer.from(image.subarray(0, setupBytes))
  setup[0x210] = 0xff
  setup[0x211] = setup[0x211]! | 0x80
  setup.writeUInt32LE(AT.initrd, 0x218)
  setup.writeUInt32LE(files.length, 0x21c)
  setup.writeUInt16LE(0xde00, 0x224)
  setup.writeUInt32LE(AT.arguments, 0x228)
  const parts = [
    { to: AT.setup, bytes: setup },
    { to: AT.arguments, bytes: Buffer.from(`${args}\0`, 'latin1') },
    { to: AT.kernel, bytes: image.subarray(setupBytes) },
    { to: AT.initrd, bytes: files },
  ]
  const disk = bootable(LINUX, bytes)
  let [table, at] = [LINUX_TABLE, BLOCK]
  for (const part of parts) {
    const blocks = Math.ceil(part.bytes.length / BLOCK)
    table = disk.writeUInt32LE(part.to, table)
    table = disk.writeUInt32LE(at / SECTOR, table)
    table = disk.writeUInt16LE(blocks, table)
    disk.set(part.bytes, at)
    at += blocks * BLOCK
  }
  return disk
}
