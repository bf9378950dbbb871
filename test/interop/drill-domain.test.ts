// A drill of a domain of libvirt: under plain QEMU, by its XML, without libvirt.
import { chmod, mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { xml } from '../../agent/libvirt/xml.ts'
import { talkingDisk } from '../support/boot/boot-disks.ts'
import { makeImage } from '../support/image-chain.ts'
import { startLibvirt } from '../support/libvirt.ts'
import { Stand } from '../support/stand.ts'
import { tempFolder } from '../support/temp.ts'

test('the domain goes on as it was, and its copy boots', async () => {
  await using stand = await Stand.start()
  // QEMU is another user, who may enter it
  await chmod(stand.folder.path, 0o711)
  await using temp = await tempFolder()
  await using libvirt = await startLibvirt({ folder: temp.path })
  const content = talkingDisk('varve login: \0')
  const disk = {
    target: 'vda',
    format: 'qcow2',
    file: path.join(temp.path, 'vda.qcow2'),
    size: content.length,
  } as const
  await makeImage({ file: disk.file, format: 'qcow2' }, content)
  await libvirt.startDomain({
    name: 'db1',
    uuid: '6a1f0a5e-54f7-4a3a-8f0e-2b1f37c1d333',
    disks: [disk],
    devices: xml`<interface type='user'><mac address='52:54:00:00:00:05'/><model type='virtio'/></interface>`,
  })
  const host = await stand.addHost()
  await host.start({ tables: ['[[machine]]', 'name = "db1"', 'domain = "db1"', `uri = "${libvirt.uri}"`] })
  const { point } = await host.backup('db1')
  const before = await libvirt.virsh('dumpxml', 'db1')
  const scratch = stand.folder.join('scratch')
  await mkdir(scratch)
  const done = await host.done('drill', point, '--scratch', scratch, '--check', 'serial:login:')
  expect(done.stdout).toMatch(/db1 at \S+ boots: its serial console said "login:"/u)
  expect(done.stderr).toContain('it ran under plain QEMU')
  expect(await readdir(scratch)).toEqual([])
  expect(await libvirt.virsh('dumpxml', 'db1')).toBe(before)
  expect(await libvirt.virsh('domstate', 'db1')).toContain('paused')
})
