// A client that is no more than a member of the group libvirt, beside QEMUs of the user libvirt-qemu. Goal: what the README
// has an administrator do is enough for scratch images and the NBD socket, and less is not. Method: a system daemon; this
// process becomes the user for the calls that the agent makes.
import { once } from 'node:events'
import { chmod, chown, lstat, mkdir, readdir, rm } from 'node:fs/promises'
import { createConnection } from 'node:net'
import path from 'node:path'
import { expect, test } from 'vitest'
import { LibvirtConnection } from '../../../agent/libvirt/connection.ts'
import { xml } from '../../../agent/libvirt/xml.ts'
import { AGENT_USER, asUser, LIBVIRT_GROUP, QEMU_USER, startLibvirt, type TestLibvirt } from '../../support/libvirt.ts'
import { run } from '../../support/run.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

const LIBVIRTD_CONF = 'unix_sock_group = "libvirt"\nunix_sock_rw_perms = "0770"\n'
const QEMU_CONF = 'user = "libvirt-qemu"\ngroup = "libvirt-qemu"\n'

/** Of the file system's rights to a file: those of one user, as getfacl has them. */
const rightsOf = async (file: string, uid: number): Promise<string | undefined> =>
  new RegExp(`^user:${uid}:(...)$`, 'm').exec(await run('getfacl', ['-n', '-p', file]))?.[1]

/** A folder of the agent's, as the README has it made. */
const grantedFolder = async (folder: string): Promise<void> => {
  await mkdir(folder)
  await chmod(folder, 0o711)
  await chown(folder, AGENT_USER.uid, AGENT_USER.gid)
  await run('setfacl', ['-d', '-m', `u:${QEMU_USER.uid}:rwx,u:${AGENT_USER.uid}:rwx`, folder])
}

const begin = async (libvirt: TestLibvirt, folder: string, mode: number): Promise<void> => {
  for (const name of ['scratch', 'socket']) await mkdir(path.join(folder, name), { mode })
  const backup = xml`<domainbackup mode='pull'><server transport='unix' socket='${folder}/socket/nbd'/>
<disks><disk name='vda' backup='yes' type='file'><scratch file='${folder}/scratch/0.qcow2'/></disk></disks></domainbackup>`
  const checkpoint = xml`<domaincheckpoint><name>cp</name></domaincheckpoint>`
  await using connection = await LibvirtConnection.open({ uri: libvirt.uri })
  const domain = await connection.domainByName('db1')
  await connection.backupBegin(domain, backup.text, checkpoint.text)
}

const standOf = async (folder: string): Promise<TestLibvirt> => {
  const libvirt = await startLibvirt({ folder, mode: 'system', libvirtdConf: LIBVIRTD_CONF, qemuConf: QEMU_CONF })
  const file = path.join(folder, 'vda.qcow2')
  await libvirt.startDomain({ name: 'db1', disks: [{ target: 'vda', format: 'qcow2', file, size: 4 * 1024 * 1024 }] })
  return libvirt
}

test('folders with a default access list serve both users, and the agent removes them again', async () => {
  await using folder = await tempFolder()
  await using libvirt = await standOf(folder.path)
  const own = folder.join('own')
  await grantedFolder(own)
  await asUser(AGENT_USER, [LIBVIRT_GROUP], async () => {
    await begin(libvirt, own, 0o770)
    const socket = path.join(own, 'socket/nbd')
    expect((await lstat(socket)).uid).toBe(QEMU_USER.uid)
    expect(await rightsOf(socket, AGENT_USER.uid)).toBe('rwx')
    const client = createConnection(socket)
    await once(client, 'connect')
    client.destroy()
    await using connection = await LibvirtConnection.open({ uri: libvirt.uri })
    await connection.abortJob(await connection.domainByName('db1'))
    await eventually(async () => (await readdir(path.join(own, 'scratch'))).length === 0)
    for (const name of ['scratch', 'socket']) await rm(path.join(own, name), { recursive: true })
  })
  expect(await readdir(own)).toEqual([])
})

test('a folder that is made for its owner alone takes no effect from the list', async () => {
  await using folder = await tempFolder()
  await using libvirt = await standOf(folder.path)
  const own = folder.join('own')
  await grantedFolder(own)
  await asUser(AGENT_USER, [LIBVIRT_GROUP], async () => {
    await expect(begin(libvirt, own, 0o700)).rejects.toMatchObject({
      code: 'LIBVIRT_ERROR',
      message: expect.stringContaining('Permission denied'),
    })
  })
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
