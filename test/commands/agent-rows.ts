// Wrong inputs for each command of varve-agent, as a person may type them; `--config @config` is added where no file is named.
import type { Rows } from './gateway-rows.ts'

/** What is wrong with the configuration, the enrolment or the gateway of any command that asks one. */
const HOSTS = [
  ['--config', '@nowhere'],
  ['--config', '@bare'],
  ['--config', '@config-typo'],
  ['--config', '@toml-broken'],
  ['--config', '@config-fresh'],
  ['--config', '@config-ca'],
  ['--config', '@config-away'],
  ['--config', ''],
] as const

const on = (...args: readonly string[]): readonly (readonly string[])[] => HOSTS.map((host) => [...args, ...host])

const UNKNOWN_ID = '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214'

const enrol = (...args: readonly string[]): readonly string[] => [
  '--gateway',
  '@url',
  '--config',
  '@config-fresh',
  ...args,
]

export const AGENT_ROWS: Rows = {
  enrol: [
    [],
    enrol(),
    enrol('--token', 'rubbish'),
    enrol('--token', ''),
    enrol('--token', '@token', '--token-file', '@empty'),
    enrol('--token-file', '@nowhere'),
    enrol('--token-file', '@bare'),
    enrol('--token-file', '@empty'),
    enrol('--token-file', '@words'),
    ['--gateway', 'https://backup.example', '--token', '@token', '--config', '@config-fresh'],
    ['--gateway', 'ws://192.0.2.1:8470', '--token', '@token', '--config', '@config-fresh'],
    ['--gateway', 'backup.example', '--token', '@token', '--config', '@config-fresh'],
    ['--gateway', '@away', '--token', '@token', '--config', '@config-fresh'],
    ['--gateway', '@url', '--token', '@token', '--config', '@config-proc'],
    ['--gateway', '@url', '--token', '@token', '--config', '@nowhere'],
    enrol('--token', 'rubbish', '--json'),
    ['--gateway', '@url', '--token', '@token'],
  ],
  run: [
    ['--config', '@nowhere'],
    ['--config', '@config-typo'],
    ['--config', '@config-fresh'],
    ['--config', '@config-proc'],
    ['db1'],
    ['--json'],
  ],
  discover: [
    ['db1'],
    ['--jsn'],
    ['--config', ''],
    ['--config', '@config-typo'],
    ['--config', '@toml-broken'],
    ['--config', '@bare'],
    ['--config', '@config-typo', '--json'],
  ],
  machines: [['db1'], ...on(), ['--config', '@config-away', '--json']],
  status: [['db1'], ['nodb'], ['db1', '--timeout', '0'], ...on(), ['--config', '@config-fresh', '--json']],
  backup: [
    [],
    ['db2'],
    ['db1'],
    ['db1', 'db2'],
    ['two words'],
    ['db1', '--fll'],
    ['', '--full'],
    ...on('db1', '--timeout', '1s'),
    ['db1', '--timeout', 'soon'],
    ['nodb', '--json'],
  ],
  points: [['db2'], ['db1', 'db2'], ['--limit', '5'], ['two words'], [''], ...on(), ['db2', '--json']],
  restore: [
    [],
    ['@point', '--to', '@target'],
    ['@point', '--disk', 'vda'],
    ['3f2', '--disk', 'vda', '--to', '@target'],
    ['ffffffff', '--disk', 'vda', '--to', '@target'],
    [UNKNOWN_ID, '--disk', 'vda', '--to', '@target'],
    ['@point', '--disk', 'vdz', '--to', '@target'],
    ['@point', '--disk', 'vda', '--to', '@raw'],
    ['@point', '--disk', 'vda', '--to', '@bare'],
    ['@point', '--disk', 'vda', '--to', '@nowhere/disk.raw'],
    ['@point', '--disk', 'vda', '--to', '@target', '--format', 'vmdk'],
    ['@point', '--disk', 'vda', '--to', ''],
    ['@point', '--disk', 'vda', '--to', '@target', '--timeout', '1s', '--config', '@config-away'],
    ['@point', '--disk', 'vda', '--to', '@nowhere.vmdk'],
    ['@point', '--disk', 'vda', '--to', '/proc/disk.raw'],
    ['@point', '--disk', 'vda', '--to', '/dev/null', '--force'],
    ['ffffffff', '--disk', 'vda', '--to', '@target', '--json'],
  ],
  forget: [
    [],
    ['db2'],
    ['db1'],
    ['db1', '--disk', ''],
    ['db1', '--config', '@nowhere'],
    ['db1', '--config', '@config-proc'],
    ['db2', '--json'],
  ],
  'rotate-key': [
    ['now'],
    ['--timeout', 'soon'],
    ['--config', '@nowhere'],
    ['--config', '@config-fresh'],
    ['--config', '@config-away'],
    ['--config', '@config-fresh', '--json'],
  ],
  uninstall: [
    ['db1'],
    ['--config', '@nowhere'],
    ['--config', '@config-typo'],
    ['--config', '@config-proc'],
    ['--frce'],
    ['--config', '@nowhere', '--json'],
  ],
}
