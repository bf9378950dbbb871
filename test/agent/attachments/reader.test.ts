// What somebody else names is read only where they may read it: owners, groups, others, and every folder on the way.
import { chmod, chown, mkdir, open, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { mayRead, NOBODY, openedButNotTheirs, readerOf, readerOfLibvirt } from '../../../agent/attachments/reader.ts'
import { tempFolder } from '../../support/temp.ts'

const UID = 4711
const reader = { uid: UID, gids: [4712] }

test('root and the agent’s own user read what the agent reads; anyone else is a reader', () => {
  expect(readerOf(0)).toBe(null)
  expect(readerOf(process.getuid!())).toBe(null)
  expect(readerOf(UID, [1])).toEqual({ uid: UID, gids: [1] })
})

test('a file is theirs by its owner, its group or its mode for others, and by every folder on the way', async () => {
  await using temp = await tempFolder()
  await chmod(temp.path, 0o711)
  const [folder, file] = [temp.join('folder'), temp.join('folder', 'file')]
  await mkdir(folder, { mode: 0o711 })
  await writeFile(file, 'secret')
  const judged = async (uid: number, gid: number, mode: number): Promise<boolean> => {
    await chown(file, uid, gid)
    await chmod(file, mode)
    return await mayRead(reader, file)
  }
  expect(await judged(0, 0, 0o640)).toBe(false)
  expect(await judged(0, 0, 0o644)).toBe(true)
  expect(await judged(0, 4712, 0o640)).toBe(true)
  expect(await judged(0, 4712, 0o604)).toBe(false)
  expect(await judged(UID, 0, 0o600)).toBe(true)
  expect(await judged(UID, 0, 0o044)).toBe(false)
  await chmod(folder, 0o700)
  expect(await judged(0, 0, 0o644)).toBe(false)
  await chmod(folder, 0o711)
  expect(await mayRead(reader, folder)).toBe(false)
  await chmod(folder, 0o755)
  expect(await mayRead(reader, folder)).toBe(true)
  await chmod(temp.path, 0o700)
  expect(await mayRead(reader, folder)).toBe(false)
})

test('a session’s libvirt reads for the user who has its socket, the system’s for whoever the agent is', async () => {
  await using temp = await tempFolder()
  const server = createServer().listen(temp.join('sock'))
  await once(server, 'listening')
  const uri = `qemu:///session?socket=${temp.join('sock')}`
  expect(await readerOfLibvirt(uri)).toBe(null)
  await chown(temp.join('sock'), UID, 0)
  expect(await readerOfLibvirt(uri)).toEqual({ uid: UID, gids: [] })
  expect(await readerOfLibvirt(uri.replace('session', 'system'))).toBe(null)
  server.close()
})

test('who could put another socket in the place of a session’s is its user, and without one it is nobody’s', async () => {
  await using temp = await tempFolder()
  const [home, root] = [temp.join('home'), temp.join('root')]
  await mkdir(home)
  await chown(home, UID, 0)
  await writeFile(root, '')
  const uriOf = (file: string): string => `qemu:///session?socket=${file}`
  expect(await readerOfLibvirt(uriOf(temp.join('home', 'gone')))).toEqual({ uid: NOBODY, gids: [] })
  // a socket that is root's, in their folder, or behind their link
  await symlink(root, temp.join('home', 'sock'))
  expect(await readerOfLibvirt(uriOf(temp.join('home', 'sock')))).toEqual({ uid: UID, gids: [] })
  await symlink(temp.join('home', 'sock'), temp.join('sock'))
  expect(await readerOfLibvirt(uriOf(temp.join('sock')))).toMatchObject({ uid: UID })
  expect(await readerOfLibvirt(uriOf(root))).toBe(null)
})

test('what a process has open is judged by the file itself, whatever its path leads to', async () => {
  await using temp = await tempFolder()
  await chmod(temp.path, 0o711)
  const [theirs, secret] = [temp.join('theirs'), temp.join('secret')]
  for (const file of [theirs, secret]) await writeFile(file, '')
  await chmod(theirs, 0o644)
  await chmod(secret, 0o600)
  const opened = (): Promise<string | null> =>
    openedButNotTheirs(reader, process.pid, (place) => !place.startsWith(temp.path))
  await using _readable = await open(theirs)
  expect(await opened()).toBe(null)
  const file = await open(secret)
  expect(await opened()).toBe(secret)
  // the path names another file by now
  await rename(secret, temp.join('moved'))
  await writeFile(secret, '', { mode: 0o644 })
  expect(await opened()).toBe(temp.join('moved'))
  await rm(temp.join('moved'))
  expect(await opened()).toBe(`${temp.join('moved')} (deleted)`)
  await file.close()
  expect(await opened()).toBe(null)
})
