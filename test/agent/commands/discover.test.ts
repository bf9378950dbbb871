// The discover command on a host of its own, in which only the test's machines run: a process namespace.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { parseConfig } from '../../../agent/config.ts'
import { startLibvirt } from '../../support/libvirt.ts'
import { Program } from '../../support/stand-program.ts'
import { Stand } from '../../support/stand.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'
import { run } from '../../support/run.ts'

const PROGRAM = fileURLToPath(new URL('../../../agent/main.ts', import.meta.url))

interface Said {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

interface OwnHost extends AsyncDisposable {
  /** Runs the command beside the machines. */
  discover(...args: readonly string[]): Promise<Said>
}

const quoted = (word: string): string => `'${word.replaceAll("'", String.raw`'\''`)}'`

/** A process namespace with QEMUs that have these arguments, and the command as often as it is asked for. */
const ownHost = async (temp: TempFolder, machines: readonly (readonly string[])[]): Promise<OwnHost> => {
  const bare = 'qemu-system-x86_64 -S -nodefaults -no-user-config -display none -machine q35,accel=tcg -m 64'
  const starts = machines.map((args) => `${bare} ${args.map(quoted).join(' ')} &`).join('\n')
  // each line that it reads is a command
  const hidden = '[ ! -d /run/libvirt ] || mount -t tmpfs none /run/libvirt'
  const script = `${hidden}\ncd ${quoted(temp.path)}\n${starts}\nwhile IFS= read -r line; do eval "$line"; done`
  const child = spawn('unshare', ['--pid', '--fork', '--mount-proc', '--kill-child', 'sh', '-c', script], {
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  const exited = once(child, 'exit')
  let runs = 0
  return {
    discover: async (...args) => {
      const [out, err, end] = ['out', 'err', 'end'].map((name) => temp.join(`${name}.${runs}`))
      runs++
      const words = [process.execPath, PROGRAM, 'discover', ...args].map(quoted).join(' ')
      child.stdin.write(`${words} >${out} 2>${err} </dev/null; echo $? >${end}.part; mv ${end}.part ${end}\n`)
      const code = await eventually(() => readFile(end!, 'utf8').catch(() => null))
      return { code: Number(code), stdout: await readFile(out!, 'utf8'), stderr: await readFile(err!, 'utf8') }
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

const listening = (temp: TempFolder, ...names: readonly string[]): Promise<unknown> =>
  eventually(async () =>
    (
      await Promise.all(
        names.map((name) =>
          run('test', ['-S', temp.join(name)]).then(
            () => true,
            () => false,
          ),
        ),
      )
    ).every(Boolean),
  )

test('what it prints is pasted, and the machine is backed up with it', async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost()
  await using temp = await tempFolder()
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', temp.join('a.qcow2'), '1M'])
  await using own = await ownHost(temp, [
    [
      '-name',
      'guest=db 1,debug-threads=on',
      '-qmp',
      `unix:${temp.join('db1')},server=on,wait=off`,
      '-blockdev',
      'qcow2,node-name=a,file.driver=file,file.filename=a.qcow2',
      '-device',
      'virtio-blk-pci,drive=a,id=vda',
    ],
    ['-name', 'people', '-monitor', `unix:${temp.join('hmp')},server=on,wait=off`],
  ])
  await listening(temp, 'db1', 'hmp')
  const none = temp.join('agent.toml')
  const { code, stdout, stderr } = await own.discover('--config', none)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/^# people: QEMU process \d+ of user 0\. Not yet possible:$/mu)
  expect(stdout).toContain(`# disks = [{ name = "vda", path = "${temp.join('a.qcow2')}", format = "qcow2" }]`)
  const top = [
    `gateway = "ws://127.0.0.1:${host.link.port}"`,
    `state = "${host.stateFolder}"`,
    'scratch_reserve = "32 MiB"',
  ]
  await writeFile(host.configFile, stdout.replace('gateway = "wss://backup.example:8470"', top.join('\n')))
  host.launch()
  await host.agent.says(/connected to the gateway/)
  expect(await host.backup('db-1')).toMatchObject({ kind: 'full', reason: 'first', disks: [{ name: 'vda' }] })
  // now the agent holds the monitor, and the configuration says whose it is
  const again = await own.discover('--config', host.configFile, '--json')
  const { machines } = JSON.parse(again.stdout) as { machines: { name: string; standing: string }[] }
  expect(machines.map(({ name, standing }) => [name, standing])).toEqual([
    ['db-1', 'configured'],
    ['people', 'unusable'],
  ])
  const text = await own.discover('--config', host.configFile)
  expect(parseConfig('f', `gateway = "wss://a"\n${text.stdout}`).machines).toEqual([])
  // without the configuration, it is another program's
  expect((await own.discover('--config', none)).stdout).toContain(
    'another program is connected to its monitor'.replace('a', 'A'),
  )
})

test('where nothing is found it says what was looked at, and the page is a configuration still', async () => {
  await using temp = await tempFolder()
  await using own = await ownHost(temp, [])
  const { code, stdout, stderr } = await own.discover('--config', temp.join('none'))
  expect(code).toBe(0)
  expect(stderr).toMatch(
    /^varve-agent: nothing was found: none of \d+ processes is a QEMU, and there is no libvirt\..*-qmp unix:/mu,
  )
  expect(parseConfig('f', stdout).machines).toEqual([])
  // as the shell leaves it for: discover > FILE
  await writeFile(temp.join('empty'), '')
  expect((await own.discover('--config', temp.join('empty'))).stdout).toBe(
    stdout.replaceAll(temp.join('none'), temp.join('empty')),
  )
})

test('a configuration that is wrong is an error; one that is hidden is said', async () => {
  await using temp = await tempFolder()
  await using own = await ownHost(temp, [])
  await writeFile(temp.join('wrong'), 'gatway = "wss://a"\n')
  const wrong = await own.discover('--config', temp.join('wrong'))
  expect(wrong).toMatchObject({ code: 2, stdout: '' })
  expect(wrong.stderr).toContain('gatway')
  await chmod(temp.path, 0o755)
  await writeFile(temp.join('hidden'), 'gateway = "wss://a"\n', { mode: 0o600 })
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, PROGRAM]
  const child = spawn(nobody[0]!, [...nobody.slice(1), 'discover', '--config', temp.join('hidden')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (part: Buffer) => (said += part.toString()))
  await once(child, 'close')
  expect(said).toContain('may not be read by this user: machines that it has already are not marked')
})

test('domains of a libvirt, running, off and transient, each once; the page follows them or has a table for each', async () => {
  await using temp = await tempFolder()
  await using own = await tempFolder()
  await using libvirt = await startLibvirt({ folder: temp.path })
  const disks = [{ target: 'vda', format: 'qcow2', file: temp.join('a.qcow2'), size: 1024 * 1024 } as const]
  const running = await libvirt.startDomain({ name: 'web 1', disks })
  await libvirt.define({ name: 'off-1', disks: [] })
  await libvirt.startTransient({ name: 'passing', disks: [] })
  const find = async (config: string): Promise<Map<string, { name: string; standing: string }>> => {
    const { stdout } = await new Program('agent', ['discover', '--uri', libvirt.uri, '--json', '--config', config])
      .ended
    const { machines } = JSON.parse(stdout) as { machines: { name: string; standing: string; origin: string }[] }
    // QEMUs of other tests have other libvirts
    return new Map(machines.filter(({ origin }) => origin.includes(libvirt.uri)).map((one) => [one.name, one]))
  }
  const none = own.join('none')
  const found = await find(none)
  expect([...found.keys()]).toEqual(['off-1', 'passing', 'web-1'])
  const keys = (domain: string): unknown => [
    { key: 'domain', value: domain },
    { key: 'uri', value: libvirt.uri },
  ]
  expect(found.get('web-1')).toMatchObject({
    standing: 'new',
    driver: 'libvirt',
    running: true,
    keys: keys('web 1'),
    uuid: running.domain.uuid,
  })
  expect(found.get('off-1')).toMatchObject({ running: false, keys: keys('off-1'), notes: [] })
  expect(found.get('passing')).toMatchObject({ running: true, notes: [expect.stringContaining('transient')] })
  const { code, stdout } = await new Program('agent', ['discover', '--uri', libvirt.uri, '--config', none]).ended
  expect(code).toBe(0)
  const names = (text: string): string[] =>
    parseConfig('page', text)
      .machines.filter(({ keys: own }) => own['uri'] === libvirt.uri)
      .map(({ name }) => name)
  expect(names(stdout)).toEqual(['off-1', 'passing', 'web-1'])
  // its QEMU is its domain, and nothing else
  expect(stdout.match(new RegExp(running.domain.uuid, 'gu'))).toHaveLength(1)
  const pasted = own.join('agent.toml')
  const follow = `gateway = "wss://a"\n[discover]\nlibvirt = "${libvirt.uri}"\nexclude = ["pass*"]\n`
  await writeFile(pasted, `${follow}[[machine]]\nname = "mine"\ndomain = "off-1"\nuri = "${libvirt.uri}"\n`)
  expect([...(await find(pasted)).values()].map(({ name, standing }) => [name, standing])).toEqual([
    ['mine', 'configured'],
    ['passing', 'new'],
    ['web-1', 'followed'],
  ])
  await libvirt.stop()
  const away = await new Program('agent', ['discover', '--uri', libvirt.uri, '--config', none]).ended
  expect(away.stderr).toContain(`the domains of ${libvirt.uri} cannot be listed: `)
  const wrong = await new Program('agent', ['discover', '--uri', 'xen:///', '--config', none]).ended
  expect(wrong).toMatchObject({ code: 2, stdout: '' })
})
