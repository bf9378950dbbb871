// Every call on a real libvirt. Goal: what libvirt does and says is what the types promise. Method: a libvirtd of its own and
// domains without a system.
import { expect, test } from 'vitest'
import { LIBVIRT_CODES } from '../../../agent/libvirt/codes.ts'
import { isLibvirtError } from '../../../agent/libvirt/errors.ts'
import { startLibvirt, type TestDomainDisk } from '../../support/libvirt.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'

const MIB = 1024 * 1024

const disk = (folder: TempFolder, target: string, format: 'qcow2' | 'raw' = 'qcow2'): TestDomainDisk => ({
  target,
  format,
  file: folder.join(`${target}.${format}`),
  size: 4 * MIB,
})

test.each(['session', 'system'] as const)('a domain in %s mode', async (mode) => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path, mode })
  const machine = await libvirt.define({ name: 'db1', disks: [disk(folder, 'vda'), disk(folder, 'vdb', 'raw')] })
  await machine.start()
  await machine.guestWrite('vda', 7, 0, 65536)
  await machine.guestWrite('vdb', 7, 0, 65536)
  await expect(machine.guestWrite('vda', 7, 8 * MIB, 65536)).rejects.toThrow()
  const found = await libvirt.control.domainByName('db1')
  expect(found.uuid).toBe(machine.domain.uuid)
  const missing = await libvirt.control.domainByName('none').catch((error: unknown) => error)
  expect(isLibvirtError(missing, LIBVIRT_CODES.noDomain)).toBe(true)
  await libvirt.restart('SIGKILL')
  await machine.guestWrite('vda', 7, 0, 65536)
  await machine.kill9()
  await machine.start()
  await machine.destroy()
})
