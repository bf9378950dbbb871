// README's first five minutes, executed: every block in order on a bare Debian 12, as root, then as an own user.
//
// Usage: node test/first-five/main.ts   Exit codes: 0 every command worked, 1 one did not, 130 interrupted.
import { readFileSync, writeFileSync } from 'node:fs'
import { chmod, cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { bareRoot, copyRoot, runIn } from './debian.ts'
import { blocksOf, scriptOf, type Block } from './page.ts'
import { freePort, onPort } from './port.ts'
import { sourceIn } from './source.ts'

const README = path.resolve(import.meta.dirname, '../../README.md')

/** The user of the part without root. */
const USER = 'someone'
const HOME = `/srv/${USER}`

const say = (line: string): void => console.log(`first-five: ${line}`)

/** What the page's two names that stand for the reader's own are here. */
const PREPARE = `
set -e
hostname bare
echo '127.0.0.1 localhost bare' > /etc/hosts
useradd --create-home --home-dir ${HOME} --shell /bin/bash ${USER}
cat > /etc/gitconfig <<'EOF'
[url "file:///srv/varve.git"]
  insteadOf = https://git.example/varve.git
[safe]
  directory = *
EOF
`

/** A newer version appears where the clone came from, so that there is something to upgrade to. */
const NEWER = `
git -C /srv/varve.git -c user.name=varve -c user.email=varve@localhost commit --quiet --allow-empty -m 'A newer one'
touch /opt/varve/package-lock.json
`

/** Nothing of Varve is left on the host, and in the machine's images no bitmap. */
const AFTER = `
set -e
if grep -las '/opt/[v]arve' /proc/[0-9]*/cmdline; then echo 'a program is left'; exit 1; fi
ls -d /opt/varve /etc/varve /var/lib/varve* /var/cache/varve* /usr/local/bin/varve* 2>/dev/null && exit 1
getent passwd varve && exit 1
grep backup.example /etc/hosts && exit 1
kill "$(cat /run/qemu/db1.pid)"
while [ -e /run/qemu/db1.pid ]; do sleep 0.1; done
for image in system data; do
  qemu-img info /srv/db1/$image.qcow2 | grep -q varve- && { echo "a bitmap is left in $image"; exit 1; }
done
echo 'nothing is left'
`

const asUser = (blocks: readonly Block[]): string => `
cat > ${HOME}/first-five.sh <<'END OF THE PAGE'
${scriptOf(blocks)}
END OF THE PAGE
cd / && runuser -l ${USER} -w http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY,NODE_EXTRA_CA_CERTS,npm_config_registry -c 'bash first-five.sh'
if [ -e ${HOME}/try ]; then exit 1; fi
`

const scripts = (page: string): string => {
  const blocks = blocksOf(page)
  const upgrade = blocks.findIndex(({ text }) => text.includes(' pull '))
  const root = blocks.filter(({ who }) => who === 'root')
  const before = root.filter((block) => blocks.indexOf(block) < upgrade)
  const rest = root.filter((block) => blocks.indexOf(block) >= upgrade)
  const user = blocks.filter(({ who }) => who !== 'root')
  return [PREPARE, scriptOf(before), NEWER, scriptOf(rest), `(${AFTER})`, asUser(user)].join('\n')
}

const main = async (): Promise<number> => {
  if (process.getuid?.() !== 0) {
    say('only root can make a Debian to try it on; "npm test" executes the part without root')
    return 1
  }
  const stopping = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopping.abort())
  const bare = bareRoot(say)
  const folder = await mkdtemp(path.join(tmpdir(), 'varve-first-five-'))
  try {
    const copy = path.join(folder, 'root')
    copyRoot(bare, copy)
    sourceIn(path.join(copy, 'srv/varve.git'))
    await cp(path.join(import.meta.dirname, 'systemctl'), path.join(copy, 'usr/local/sbin/systemctl'))
    await chmod(path.join(copy, 'usr/local/sbin/systemctl'), 0o755)
    const page = onPort(readFileSync(README, 'utf8'), await freePort())
    writeFileSync(path.join(copy, 'first-five.sh'), scripts(page))
    const startedMs = performance.now()
    const code = await runIn(copy, '/first-five.sh', stopping.signal)
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
    if (stopping.signal.aborted) return 130
    say(
      code === 0 ? `every command worked, in ${seconds} s` : `a command failed after ${seconds} s; the last one above`,
    )
    return code === 0 ? 0 : 1
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

process.exitCode = await main()
