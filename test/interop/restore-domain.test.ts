// A domain of libvirt comes back whole: beside the one that it was under a name and ids of its own, or in its place.
import { chmod, chown, readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { xml } from '../../agent/libvirt/xml.ts'
import { makeImage } from '../support/image-chain.ts'
import { startLibvirt, type TestDomainDisk, type TestLibvirt } from '../support/libvirt.ts'
import { destroyDomain, startDomain } from '../support/libvirt-calls.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import { Stand } from '../support/stand.ts'
import { tempFolder } from '../support/temp.ts'

const UUID = '6a1f0a5e-54f7-4a3a-8f0e-2b1f37c1d222'
const MAC = '52:54:00:00:00:02'

const contentOf = async (file: string): Promise<Buffer> => {
  const raw = `${file}.plain`
  await run('qemu-img', ['convert', '-U', '-O', 'raw', file, raw])
  return await readFile(raw)
}

/** Gives what was restored to the user of the daemon's QEMUs, as a system's libvirt does by itself. */
const give = async (libvirt: TestLibvirt, folder: string): Promise<void> => {
  const { owner } = libvirt
  if (owner === null) return
  const names = await readdir(folder, { recursive: true })
  for (const name of names) await chown(path.join(folder, name), owner.uid, owner.gid)
}

test('restored, defined and started beside the one that still runs; and in place of one that is gone', async () => {
  await using stand = await Stand.start()
  const dice = new Dice(82)
  // QEMU is another user, who may enter both
  await chmod(stand.folder.path, 0o711)
  await using temp = await tempFolder()
  const folder = temp.path
  await using libvirt = await startLibvirt({ folder })
  const contents = [dice.bytes(5 * MIB), Buffer.concat([Buffer.alloc(3 * MIB), dice.bytes(2 * MIB)])]
  const disks = contents.map((content, index): TestDomainDisk => {
    const target = ['vda', 'vdb'][index]!
    return { target, format: 'qcow2', file: path.join(folder, `${target}.qcow2`), size: content.length }
  })
  for (const [index, { file }] of disks.entries()) await makeImage({ file, format: 'qcow2' }, contents[index]!)
  const [code, vars] = [path.join(folder, 'code.fd'), path.join(folder, 'vars.fd')]
  await writeFile(code, dice.bytes(128 * KIB))
  await writeFile(vars, dice.bytes(128 * KIB))
  await libvirt.give(code, vars)
  const domain = await libvirt.startDomain({
    name: 'db1',
    uuid: UUID,
    disks,
    os: xml`<loader readonly='yes' type='pflash'>${code}</loader><nvram>${vars}</nvram>`,
    devices: xml`<interface type='user'><mac address='${MAC}'/><model type='virtio'/></interface>`,
  })
  const host = await stand.addHost()
  await host.start({ tables: ['[[machine]]', 'name = "db1"', 'domain = "db1"', `uri = "${libvirt.uri}"`] })
  const { point } = await host.backup('db1')
  const before = await libvirt.virsh('dumpxml', '--inactive', 'db1')

  // it would be the one that runs
  const [first, second] = [path.join(folder, 'one'), path.join(folder, 'two')]
  for (const [args, says] of [
    [[], '--new-ids'],
    [['--name', 'other'], 'the same uuid'],
  ] as const) {
    const refused = await host.run('restore', point, '--to', first, '--define', ...args)
    expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining(says) })
  }
  expect((await readdir(folder)).includes('one')).toBe(false)

  const own = ['--define', '--name', 'db1 copy', '--new-ids']
  const done = await host.done('restore', point, '--to', first, ...own)
  expect(done.stdout).toContain("start 'db1 copy'")
  expect(done.stderr).toContain('<qemu:commandline>')
  expect((await readdir(first)).toSorted()).toEqual(['attachments', 'domain.xml', 'vda.qcow2', 'vdb.qcow2'])
  for (const [index, content] of contents.entries())
    expect((await contentOf(path.join(first, `vd${'ab'[index]}.qcow2`))).equals(content)).toBe(true)
  expect(await readFile(path.join(first, 'attachments', 'nvram'))).toEqual(await readFile(vars))

  const copy = await libvirt.control.domainByName('db1 copy')
  expect((await libvirt.control.domainState(copy)).state).toBe('shut-off')
  expect(copy.uuid).not.toBe(UUID)
  const defined = await libvirt.virsh('dumpxml', '--inactive', 'db1 copy')
  expect(defined).not.toMatch(new RegExp(`${MAC}|${UUID}|${vars}|${disks[0]!.file}|qemu:commandline`, 'u'))
  expect(await libvirt.virsh('dumpxml', '--inactive', 'db1')).toBe(before)

  await give(libvirt, first)
  await startDomain(libvirt.control, copy, true)
  expect((await libvirt.control.domainState(copy)).state).toBe('paused')
  expect(await libvirt.virsh('domblklist', 'db1 copy')).toMatch(
    /vda\s+\S+\/one\/vda\.qcow2\s+vdb\s+\S+\/one\/vdb\.qcow2/u,
  )
  await destroyDomain(libvirt.control, copy)

  // the host burned: nothing is there that it could be taken for
  await domain.destroy()
  await libvirt.virsh('undefine', '--keep-nvram', 'db1')
  await libvirt.virsh('undefine', '--keep-nvram', 'db1 copy')
  const json = await host.done('restore', point, '--to', second, '--define', '--uri', libvirt.uri, '--json')
  expect(JSON.parse(json.stdout.trimEnd().split('\n').at(-1)!)).toMatchObject({
    keptBytes: 0,
    disks: [{ name: 'vda' }, { name: 'vdb' }],
    defined: { kind: 'libvirt', uri: libvirt.uri, name: 'db1', uuid: UUID, file: path.join(second, 'domain.xml') },
  })
  const again = await libvirt.control.domainByName('db1')
  expect(again.uuid).toBe(UUID)
  expect(await libvirt.virsh('dumpxml', '--inactive', 'db1')).toContain(MAC)
  await give(libvirt, second)
  await startDomain(libvirt.control, again, true)
})
