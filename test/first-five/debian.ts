// A bare Debian 12: its root made once by debootstrap, and a throw-away copy of it in which a script runs.
import { execFileSync, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'

const RELEASE = 'bookworm'

/** What a bare Debian has beside the essential packages: its service manager, without which it would not start. */
const INCLUDED = 'systemd'

/** Roots of other contents are other roots. */
const CACHE = path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'varve', `debian-${RELEASE}`)

/** How this machine reaches its registries, which the copy does as well. */
const NETWORK = [
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'NODE_EXTRA_CA_CERTS',
] as const

/** Where this machine has Debian 12 from; null for debootstrap's own default. */
const mirror = (): string | null => {
  const format = ['indextargets', '--format', '$(CODENAME) $(REPO_URI)', 'Created-By: Packages']
  const lines = execFileSync('apt-get', format, { encoding: 'utf8' }).split('\n')
  return lines.find((line) => line.startsWith(`${RELEASE} `))?.split(' ')[1] ?? null
}

/** The root that copies are made of, made where it is not there yet. */
export const bareRoot = (say: (line: string) => void): string => {
  if (existsSync(CACHE)) return CACHE
  say('making a bare Debian 12, once')
  const making = `${CACHE}.new`
  rmSync(making, { recursive: true, force: true })
  mkdirSync(path.dirname(making), { recursive: true })
  const from = mirror()
  const args = ['--variant=minbase', `--include=${INCLUDED}`, RELEASE, making, ...(from === null ? [] : [from])]
  try {
    execFileSync('debootstrap', args, { stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 2 ** 26 })
  } catch (error) {
    rmSync(making, { recursive: true, force: true })
    throw new Error('debootstrap could not make a Debian 12', { cause: error })
  }
  renameSync(making, CACHE)
  return CACHE
}

/** The way out of this machine, laid into a copy: names, and authorities that its administrator trusts. */
const layNetwork = (copy: string): void => {
  rmSync(path.join(copy, 'etc/resolv.conf'), { force: true })
  writeFileSync(path.join(copy, 'etc/resolv.conf'), readFileSync('/etc/resolv.conf'))
  const trusted = 'usr/local/share/ca-certificates'
  if (existsSync(`/${trusted}`)) cpSync(`/${trusted}`, path.join(copy, trusted), { recursive: true })
}

/** Makes a copy of the bare root at `copy`. */
export const copyRoot = (bare: string, copy: string): void => {
  execFileSync('cp', ['-a', bare, copy])
  layNetwork(copy)
  // a copy that is thrown away needs no fsync after each file of hundreds of packages
  writeFileSync(path.join(copy, 'etc/dpkg/dpkg.cfg.d/thrown-away'), 'force-unsafe-io\n')
}

/** The environment of a login on such a machine, with this one's way to its registries. */
const environment = (): Record<string, string> => {
  const kept = NETWORK.flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  const registry = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8', cwd: '/' }).trim()
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    DEBIAN_FRONTEND: 'noninteractive',
    npm_config_registry: registry,
    ...Object.fromEntries(kept),
  }
}

/** What runs as the first process of the copy: its file systems, then the script. When it ends, so does all that it started. */
const INIT = `
set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/run"
exec chroot "$1" /bin/bash "$2"
`

/** Runs a script of the copy as root, its output being ours; resolves to its exit code. */
export const runIn = (copy: string, script: string, signal: AbortSignal): Promise<number> =>
  new Promise((resolve, reject) => {
    const namespaces = ['--mount', '--uts', '--ipc', '--pid', '--fork', '--kill-child']
    const child = spawn('unshare', [...namespaces, 'sh', '-c', INIT, 'sh', copy, script], {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: environment(),
      signal,
      killSignal: 'SIGKILL',
    })
    child.once('error', (error) => (signal.aborted ? resolve(130) : reject(error)))
    child.once('exit', (code) => resolve(code ?? 1))
  })
