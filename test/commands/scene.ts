// What the tables of commands are run against: a running gateway with a tenant, an agent, a machine and its points, and
// everything that can be wrong beside it.
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { startGateway, TENANT, type TestGateway } from '../support/gateway.ts'
import { tempFolder, type TempFolder } from '../support/temp.ts'
import { addPoint } from '../gateway/catalog.ts'
import { VarveError } from '../../protocol/errors.ts'

/** A scene's places, by the words that stand for them in a table. */
export type Places = Readonly<Record<`@${string}`, string>>

export interface Scene extends AsyncDisposable {
  readonly temp: TempFolder
  readonly gateway: TestGateway
  readonly places: Places
}

/** A port on which nobody listens. */
const closedPort = async (): Promise<number> => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

export const openScene = async (): Promise<Scene> => {
  await using resources = new AsyncDisposableStack()
  const temp = resources.use(await tempFolder())
  const gateway = resources.use(await startGateway({ folder: temp.join('data') }))
  const state = temp.join('state')
  const mine = await gateway.enrolAgent(state)
  const other = await gateway.enrolAgent(temp.join('other'))
  for (const [identity, machine] of [
    [mine, 'db1'],
    [other, 'web1'],
  ] as const) {
    const peer = await gateway.connectAgent(identity, [machine])
    peer.close(new VarveError('CANCELLED', 'it has said what it has'))
    await peer.closed
  }
  const tenant = (await gateway.catalog.tenants.byName({ name: TENANT }))!
  const machine = await gateway.catalog.machines.get({ tenant: tenant.id, name: 'db1' })
  const point = await addPoint(gateway.catalog, tenant, machine, { root: null, size: 65_536 })
  await gateway.catalog.machines.setGroup({ tenant: tenant.id, name: 'db1', group: 'databases' })
  const away = `ws://127.0.0.1:${await closedPort()}`
  const write = async (name: string, text: string): Promise<string> => {
    await writeFile(temp.join(name), text, { mode: 0o600 })
    return temp.join(name)
  }
  const machineText = `[[machine]]\nname = "db1"\nqmp = "${temp.join('qmp')}"\n`
  const agentConfig = (url: string, folder: string, more = ''): string =>
    `gateway = "${url}"\nstate = "${folder}"\nlog_level = "silent"\n${more}${machineText}`
  await writeFile(temp.join('open'), await gateway.tokenFor('operator'), { mode: 0o644 })
  for (const folder of ['bare', 'full']) await mkdir(temp.join(folder))
  await writeFile(temp.join('full', 'disk.raw'), 'content')
  const places: Places = {
    '@data': temp.join('data'),
    '@nowhere': temp.join('nowhere'),
    '@bare': temp.join('bare'),
    '@new': temp.join('new'),
    '@file': await write('file', 'no folder'),
    '@listening': gateway.url.replace(/^wss?:\/\//u, ''),
    '@url': gateway.url,
    '@away': away,
    '@away-host': away.replace('ws://', ''),
    '@agent': mine.record.agentId,
    '@point': point,
    '@raw': temp.join('full', 'disk.raw'),
    '@target': temp.join('target.raw'),
    '@token': await gateway.enrolmentToken(),
    '@token-file': await write('person', await gateway.tokenFor('operator')),
    '@viewer-token': await write('viewer', await gateway.tokenFor('viewer')),
    '@open-token': temp.join('open'),
    '@empty': await write('empty', '\n'),
    '@words': await write('words', 'two words\n'),
    '@toml-plans': await write('plans.toml', '[plans.gold]\nrpo = "4h"\n'),
    '@toml-plans-typo': await write('plans-typo.toml', '[plans.gold]\nrpoo = "4h"\n'),
    '@toml-plans-twice': await write(
      'plans-twice.toml',
      '[plans.a]\ncovers = { machines = ["db1"] }\n[plans.b]\ncovers = { machines = ["db1"] }\n',
    ),
    '@toml-typo': await write('typo.toml', 'data = "/srv/varve"\nlistne = "127.0.0.1:0"\n'),
    '@toml-type': await write('type.toml', 'listen = 8470\n'),
    '@toml-broken': await write('broken.toml', 'listen = \n'),
    '@config': await write('agent.toml', agentConfig(gateway.url, state)),
    '@config-away': await write('away.toml', agentConfig(away, state)),
    '@config-fresh': await write('fresh.toml', agentConfig(gateway.url, temp.join('fresh'))),
    '@config-proc': await write('proc.toml', agentConfig(gateway.url, '/proc/varve')),
    '@config-typo': await write('agent-typo.toml', agentConfig(gateway.url, state, 'bandwith = "5 MiB"\n')),
    '@config-follow-typo': await write(
      'follow-typo.toml',
      `gateway = "${gateway.url}"\n[discover]\nlibvirt = "qemu:///system"\nincldue = ["web-*"]\n`,
    ),
    '@config-ca': await write('ca.toml', agentConfig(gateway.url, state, `ca = "${temp.join('no-ca.pem')}"\n`)),
  }
  const all = resources.move()
  return { temp, gateway, places, [Symbol.asyncDispose]: () => all.disposeAsync() }
}
