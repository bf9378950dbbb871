// The certificate that the port serves and its key: read, checked to belong together, and the warnings about its dates and names.
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { VarveError } from '../../protocol/errors.ts'
import { DAY_MS } from '../../protocol/host/duration.ts'

/** How long before its expiry warnings begin, in milliseconds. */
const EXPIRY_WARNING_MS = 14 * DAY_MS

export interface CertificateFiles {
  readonly cert: string
  readonly key: string
}

/** What TLS is served with: PEM. */
export interface Certificate {
  readonly cert: Buffer
  readonly key: Buffer
}

const WAYS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: "the gateway's user may not read it",
  EPERM: "the gateway's user may not read it",
  EISDIR: 'it is a folder',
}

const invalid = (message: string, cause?: unknown): VarveError => new VarveError('CONFIG_INVALID', message, { cause })

const read = async (file: string, what: string): Promise<Buffer> => {
  try {
    return await readFile(file)
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    throw invalid(`cannot read the ${what} ${file}: ${WAYS[code] ?? message}`, error)
  }
}

const certificateOf = (file: string, pem: Buffer): X509Certificate => {
  try {
    return new X509Certificate(pem)
  } catch (error) {
    const text = pem.toString('latin1')
    if (text.trim() === '') throw invalid(`the certificate ${file} is empty`, error)
    const swapped = text.includes('PRIVATE KEY') ? ': it is a key; are certificate and key swapped?' : ''
    throw invalid(`${file} holds no certificate in PEM${swapped}`, error)
  }
}

const keyOf = (file: string, pem: Buffer): KeyObject => {
  const text = pem.toString('latin1')
  if (text.includes('ENCRYPTED'))
    throw invalid(`the key ${file} is protected by a passphrase, which cannot be entered here: store it without one`)
  try {
    return createPrivateKey(pem)
  } catch (error) {
    if (text.trim() === '') throw invalid(`the key ${file} is empty`, error)
    const swapped = text.includes('CERTIFICATE') ? ': it is a certificate; are certificate and key swapped?' : ''
    throw invalid(`${file} holds no private key in PEM${swapped}`, error)
  }
}

/** Whether certificate and key can be served together; CONFIG_INVALID names the files. */
export const checkCertificate = (files: CertificateFiles, { cert, key }: Certificate): X509Certificate => {
  const certificate = certificateOf(files.cert, cert)
  if (!certificate.checkPrivateKey(keyOf(files.key, key)))
    throw invalid(`the key ${files.key} does not belong to the certificate ${files.cert}: they do not form a pair`)
  try {
    createSecureContext({ cert, key })
  } catch (error) {
    throw invalid(`TLS cannot use ${files.cert} with ${files.key}: ${(error as Error).message}`, error)
  }
  return certificate
}

/** The two files as they are now, checked or not. CONFIG_INVALID where one cannot be read. */
export const readFiles = async ({ cert, key }: CertificateFiles): Promise<Certificate> => ({
  cert: await read(cert, 'certificate'),
  key: await read(key, 'key'),
})

/** What the port is to serve; CONFIG_INVALID. */
export const readCertificate = async (files: CertificateFiles): Promise<Certificate> => {
  const pair = await readFiles(files)
  checkCertificate(files, pair)
  return pair
}

/** The certificate in PEM where it signed itself, and so is what agents trust by their `ca`; null for another one, or none. */
export const ownAuthority = (pem: Uint8Array | null): string | null => {
  if (pem === null) return null
  const certificate = new X509Certificate(pem)
  return certificate.checkIssued(certificate) ? certificate.toString() : null
}

/** Whether its dates hold now. */
export const isValidAt = (pem: Buffer, nowMs: number): boolean => {
  const { validFromDate, validToDate } = new X509Certificate(pem)
  return validFromDate.getTime() <= nowMs && nowMs < validToDate.getTime()
}

/** The first whole name of a host in it; null for none. */
export const hostNamed = (pem: Uint8Array): string | null => {
  const names = new X509Certificate(pem).subjectAltName?.split(', ') ?? []
  return names.map((name) => /^DNS:([\w.-]+)$/u.exec(name)?.[1]).find((name) => name !== undefined) ?? null
}

const days = (ms: number): string => {
  const count = Math.floor(ms / DAY_MS)
  return count === 1 ? '1 day' : `${count} days`
}

/** Problems that its users will have, now or soon, one sentence each; none for a good one. */
export const concernsOf = (pem: Buffer, nowMs: number): string[] => {
  const { validFromDate, validToDate, subjectAltName } = new X509Certificate(pem)
  const concerns: string[] = []
  const [from, to] = [validFromDate.toISOString(), validToDate.toISOString()]
  const leftMs = validToDate.getTime() - nowMs
  if (validFromDate.getTime() > nowMs)
    concerns.push(`it is not valid before ${from}, and it is ${new Date(nowMs).toISOString()} here: agents refuse it`)
  if (leftMs <= 0) concerns.push(`it expired at ${to}: agents refuse it`)
  else if (leftMs < EXPIRY_WARNING_MS) concerns.push(`it expires in ${days(leftMs)}, at ${to}`)
  if (subjectAltName === undefined)
    concerns.push('it names no host (no subjectAltName): agents refuse it, whatever address they use')
  return concerns
}
