// Certificates of a test's own making, with any dates and names: openssl's, signed by an authority or by themselves.
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

const DAY_MS = 24 * 60 * 60 * 1000

/** Files of a certificate and its key. */
export interface Pair {
  readonly cert: string
  readonly key: string
}

export interface Wanted {
  /** From and to, in days from now. */
  readonly fromDays?: number
  readonly toDays?: number
  /** Such as `IP:127.0.0.1`; null for a certificate that names no host. */
  readonly names?: string | null
  /** Who signs it; null for itself. */
  readonly by?: Pair | null
  readonly authority?: boolean
}

/** `YYYYMMDDHHMMSSZ` of so many days from now. */
const stamp = (days: number): string =>
  new Date(Date.now() + days * DAY_MS).toISOString().replaceAll(/[-:T]|\.\d+/gu, '')

const CURVE = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** Makes a certificate and its key in a folder; `openssl ca` is the one way to any dates that every openssl has. */
export const makeCertificate = async (folder: string, name: string, wanted: Wanted = {}): Promise<Pair> => {
  const { fromDays = -1, toDays = 100, names = 'IP:127.0.0.1', by = null, authority = false } = wanted
  const work = path.join(folder, `${name}.work`)
  await mkdir(work, { recursive: true })
  const [cert, key, request] = [
    path.join(folder, `${name}.pem`),
    path.join(folder, `${name}.key`),
    path.join(work, 'csr'),
  ]
  const extensions = [`basicConstraints = CA:${authority ? 'true' : 'false'}`]
  if (names !== null) extensions.push(`subjectAltName = ${names}`)
  const config = path.join(work, 'ca.conf')
  await writeFile(path.join(work, 'index'), '')
  await writeFile(path.join(work, 'serial'), '01\n')
  await writeFile(
    config,
    [
      '[ca]',
      'default_ca = own',
      '[own]',
      `database = ${work}/index`,
      `serial = ${work}/serial`,
      `new_certs_dir = ${work}`,
      'default_md = sha256',
      'policy = any',
      'unique_subject = no',
      '[any]',
      'commonName = supplied',
      '[names]',
      ...extensions,
      '',
    ].join('\n'),
  )
  await run('openssl', ['req', '-new', ...CURVE, '-keyout', key, '-out', request, '-subj', `/CN=${name}`])
  const signer = by === null ? ['-selfsign', '-keyfile', key] : ['-cert', by.cert, '-keyfile', by.key]
  const dates = ['-startdate', stamp(fromDays), '-enddate', stamp(toDays)]
  const made = ['-batch', '-notext', '-config', config, '-extensions', 'names', '-in', request, '-out', cert]
  await run('openssl', ['ca', ...made, ...signer, ...dates])
  return { cert, key }
}
