// Whom the folders of a lease serve, beside QEMUs of the user libvirt-qemu. Goal: root's agent needs nothing done; one that is
// no more than a member of the group libvirt needs what the README has an administrator do, and less is not enough. Method: a
// system daemon; this process becomes the user for the calls that the agent makes.
import { once } from 'node:events'
import { chmod, chown, lstat, mkdir, readdir } from 'node:fs/promises'
import { createConnection } from 'node:net'
import path from 'node:path'
import { expect, test } from 'vitest'
import { LibvirtConnection } from '../../../../agent/libvirt/connection.ts'
import { xml } from '../../../../agent/libvirt/xml.ts'
import { addressOf } from '../../../../agent/drivers/libvirt/keys.ts'
import { makeScratch } from '../../../../agent/drivers/libvirt/scratch-folders.ts'
import { removeScratch } from '../../../../agent/drivers/scratch.ts'
import { checkpointOf, LibvirtBench, qcow2Disks } from '../../../support/libvirt-lease.ts'
import {
  TestDomain,
  AGENT_USER,
  asUser,
  LIBVIRT_GROUP,
  QEMU_USER,
  startLibvirt,
  type TestLibvirt,
} from '../../../support/libvirt.ts'
import { run } from '../../../support/run.ts'
import { eventually, tempFolder } from '../../../support/temp.ts'

const LIBVIRTD_CONF = 'unix_sock_group = "libvirt"\nunix_sock_rw_perms = "0770"\n'
const QEMU_CONF = 'user = "libvirt-qemu"\ngroup = "libvirt-qemu"\n'

/** Of the file system's rights to a file: those of one user, as getfacl has them. */
const rightsOf = async (file: string, uid: number): Promise<string | undefined> =>
  new RegExp(`^user:${uid}:(...)$`, 'm').exec(await run('getfacl', ['-n', '-p', file]))?.[1]

/** The two folders of an agent that is not root, as the README has them made where `shared`. */
const foldersOf = async (folder: string, shared: boolean): Promise<{ scratch: string; runtime: string }> => {
  const folders = { scratch: path.join(folder, 'scratch'), runtime: path.join(folder, 'runtime') }
  for (const one of Object.values(folders)) {
    await mkdir(one)
    await chmod(one, 0o711)
    await chown(one, AGENT_USER.uid, AGENT_USER.gid)
    if (shared) await run('setfacl', ['-d', '-m', `u:${QEMU_USER.uid}:rwx,u:${AGENT_USER.uid}:rwx`, one])
  }
  return folders
}

/** Does of a lease's begin what needs folders, and says where. */
const begin = async (
  libvirt: TestLibvirt,
  { scratch, runtime }: { readonly scratch: string; readonly runtime: string },
): Promise<{ scratchFolder: string; socketFolder: string }> => {
  const entry = { scratchFolder: path.join(scratch, 'lease'), socketFolder: path.join(runtime, 'lease') }
  const keys = { domain: 'db1', uri: libvirt.uri }
  const machine = { name: 'db1', driver: 'libvirt', address: addressOf(keys), keys }
  await makeScratch({ ...entry, machine }, QEMU_USER)
  const backup = xml`<domainbackup mode='pull'><server transport='unix' socket='${entry.socketFolder}/nbd'/>
<disks><disk name='vda' backup='yes' type='file'><scratch file='${entry.scratchFolder}/0.qcow2'/></disk></disks></domainbackup>`
  const checkpoint = xml`<domaincheckpoint><name>cp</name></domaincheckpoint>`
  await using connection = await LibvirtConnection.open({ uri: libvirt.uri })
  const domain = await connection.domainByName('db1')
  await connection.backupBegin(domain, backup.text, checkpoint.text)
  return entry
}

const standOf = async (folder: string): Promise<TestLibvirt> => {
  const libvirt = await startLibvirt({ folder, mode: 'system', libvirtdConf: LIBVIRTD_CONF, qemuConf: QEMU_CONF })
  const file = path.join(folder, 'vda.qcow2')
  await libvirt.startDomain({ name: 'db1', disks: [{ target: 'vda', format: 'qcow2', file, size: 4 * 1024 * 1024 }] })
  return libvirt
}

test('folders with a default access list serve both users, and the agent removes what they made', async () => {
  await using folder = await tempFolder()
  await using libvirt = await standOf(folder.path)
  const folders = await foldersOf(folder.path, true)
  await asUser(AGENT_USER, [LIBVIRT_GROUP], async () => {
    const entry = await begin(libvirt, folders)
    const socket = path.join(entry.socketFolder, 'nbd')
    expect((await lstat(socket)).uid).toBe(QEMU_USER.uid)
    expect(await rightsOf(socket, AGENT_USER.uid)).toBe('rwx')
    const client = createConnection(socket)
    await once(client, 'connect')
    client.destroy()
    await using connection = await LibvirtConnection.open({ uri: libvirt.uri })
    await connection.abortJob(await connection.domainByName('db1'))
    await eventually(async () => (await readdir(entry.scratchFolder)).length === 0)
    await removeScratch(entry)
  })
  expect([await readdir(folders.scratch), await readdir(folders.runtime)]).toEqual([[], []])
})

test('folders without an access list keep QEMU out', async () => {
  await using folder = await tempFolder()
  await using libvirt = await standOf(folder.path)
  const folders = await foldersOf(folder.path, false)
  await asUser(AGENT_USER, [LIBVIRT_GROUP], async () => {
    await expect(begin(libvirt, folders)).rejects.toMatchObject({
      code: 'LIBVIRT_ERROR',
      message: expect.stringContaining('Permission denied'),
    })
  })
})

test('an agent of root gives the folders to QEMU’s user', async () => {
  await using folder = await tempFolder()
  await using libvirt = await standOf(folder.path)
  const [domain] = await libvirt.control.listAllDomains()
  const options = { name: 'db1', disks: qcow2Disks(folder.path, 1) }
  await using bench = new LibvirtBench(folder.path, libvirt, new TestDomain(libvirt, options, domain!))
  await using agent = await bench.agent()
  await bench.write('vda', 7, 0, 65_536)
  const lease = await agent.driver.begin(bench.request())
  expect(await bench.content(lease.disks[0]!)).toEqual(bench.snapshot().get('vda'))
  await lease.end('committed')
  // between backups libvirt's list does not show it
  expect(await bench.checkpoints()).toEqual([])
  expect(await agent.driver.checkpoints(bench.configured)).toMatchObject({
    checkpoints: [{ name: checkpointOf(lease.id) }],
  })
})

test('where QEMU may not write, the refusal says what to do', async () => {
  await using folder = await tempFolder()
  await using libvirt = await standOf(folder.path)
  const [domain] = await libvirt.control.listAllDomains()
  const options = { name: 'db1', disks: qcow2Disks(folder.path, 1) }
  await using bench = new LibvirtBench(folder.path, libvirt, new TestDomain(libvirt, options, domain!))
  await using agent = await bench.agent()
  // nobody may pass
  await mkdir(bench.runtimeFolder, { mode: 0o700 })
  await expect(agent.driver.begin(bench.request())).rejects.toMatchObject({
    code: 'LIBVIRT_ERROR',
    message: expect.stringMatching(/^QEMU may not write to .*\/run\/.*Who may write where/),
    details: { machine: 'test', call: 'domainBackupBegin' },
  })
  expect(await readdir(bench.runtimeFolder)).toEqual([])
})

test('who is not in the group is told of it', async () => {
  await using folder = await tempFolder()
  await using libvirt = await standOf(folder.path)
  await asUser(AGENT_USER, [], async () => {
    await expect(LibvirtConnection.open({ uri: libvirt.uri })).rejects.toMatchObject({
      code: 'LIBVIRT_UNAVAILABLE',
      message: expect.stringMatching(/cannot be opened by this user.*group of the socket \(libvirt\)/),
    })
  })
})
