// Whose a data folder is: who else may not use it, and what a gateway says that may not read what is in its own.
import { chmod, chown, mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { accessError, checkOwner } from '../../../gateway/folder/owner.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { runGateway, runGatewayProgram } from '../program.ts'

const NOBODY = 65_534

/** Whether another user than this one can run the program: not from a checkout in a home that is closed to others. */
const othersReach = async (folder: string): Promise<boolean> => {
  const open = ((await stat(folder)).mode & 0o005) === 0o005
  return open && (path.dirname(folder) === folder || (await othersReach(path.dirname(folder))))
}

const isRoot = process.geteuid?.() === 0

test('the owner is that of the catalog, or of the folder where there is none; nobody else may', async () => {
  await using temp = await tempFolder()
  const { uid } = await stat(temp.path)
  const other = uid + 1
  const refused = (user: number): unknown => {
    try {
      checkOwner(temp.path, user)
    } catch (error) {
      return error
    }
    return null
  }
  expect(refused(uid)).toBe(null)
  expect(refused(other)).toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(new RegExp(`^run this as .*, the owner of ${temp.path}$`, 'u')) as string,
  })
  await writeFile(temp.join('catalog.db'), '')
  expect(refused(other)).toMatchObject({ message: expect.stringContaining(temp.join('catalog.db')) as string })
  expect(refused(uid)).toBe(null)
  checkOwner(temp.join('nowhere'), other)
  if (!isRoot) return
  await chown(temp.join('catalog.db'), NOBODY, NOBODY)
  expect(refused(0)).toMatchObject({ message: `run this as nobody, the owner of ${temp.join('catalog.db')}` })
  expect(refused(NOBODY)).toBe(null)
})

test('only a failure for want of permission becomes one that names the path', () => {
  const other = new Error('read failed', { cause: Object.assign(new Error('EIO'), { code: 'EIO', path: '/x' }) })
  expect(accessError(other, '/data')).toBe(other)
  const denied = new Error('failed', { cause: Object.assign(new Error('no'), { code: 'EACCES', path: '/data/packs' }) })
  expect(accessError(denied, '/data')).toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(
      /^no permission for \/data\/packs: .*must belong to .*chown -R USER \/data/u,
    ) as string,
    cause: denied,
  })
})

/** Takes the permission to use a file or folder away from the user that the gateway runs as. */
const takeAway = async (file: string): Promise<() => Promise<void>> => {
  const { uid, gid, mode } = await stat(file)
  await (isRoot ? chown(file, 0, 0) : chmod(file, 0))
  return () => (isRoot ? chown(file, uid, gid) : chmod(file, mode))
}

test('a gateway that may not use what is in its folder names it', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await mkdir(data)
  {
    await using gateway = await startGateway({ folder: data })
    await gateway.enrolAgent(temp.join('state'))
  }
  const names = await readdir(data, { recursive: true })
  const pack = names.find((name) => name.endsWith('.pack'))!
  const user = isRoot ? { uid: NOBODY, gid: NOBODY } : {}
  if (isRoot) {
    await chmod(temp.path, 0o755)
    for (const name of ['', ...names]) await chown(path.join(data, name), NOBODY, NOBODY)
    // the packages' own user is root, and what it runs here is not its own
    const asRoot = await Promise.all([
      runGateway(['verify', '--data', data]),
      runGateway(['tenant', 'add', 'more', '--no-plan', '--data', data]),
      runGateway(['repair', '--rebuild', '--data', data]),
      runGateway(['serve', '--data', data, '--listen', '127.0.0.1:0']),
    ])
    for (const { code, stdout, stderr } of asRoot)
      expect([code, stdout, stderr]).toEqual([EXIT.usage, '', expect.stringContaining('run this as nobody')])
  }
  if (isRoot && !(await othersReach(import.meta.dirname))) return
  for (const name of ['packs', pack, 'keys', 'lock.db']) {
    const give = await takeAway(path.join(data, name))
    const args = ['verify', '--tenant', TENANT, '--data', data]
    const { code, stdout, stderr } = await runGatewayProgram(args, {}, user)
    expect([name, code, stdout, stderr]).toEqual([name, EXIT.usage, '', expect.stringContaining(`no permission for`)])
    expect(stderr).toContain(path.join(data, name))
    await give()
  }
  expect(await runGatewayProgram(['verify', '--data', data], {}, user)).toMatchObject({ code: EXIT.ok, stderr: '' })
  if (!isRoot) return
  await chmod(temp.path, 0o700)
  const { code, stderr } = await runGatewayProgram(['verify', '--data', data], {}, user)
  expect([code, stderr]).toEqual([EXIT.usage, expect.stringContaining(`no permission for ${data}`)])
})
