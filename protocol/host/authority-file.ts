// The certificate authority that a person names to trust instead of the system's.
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { VarveError } from '../errors.ts'
import { fileError } from './file-error.ts'

/** PEM of an authority's certificate; CONFIG_INVALID names the file, and `where` it was named, such as `"ca"`. */
export const readAuthority = async (where: string, file: string | undefined): Promise<Buffer | null> => {
  if (file === undefined) return null
  let pem: Buffer
  try {
    pem = await readFile(file)
  } catch (error) {
    throw fileError(`the certificate authority in ${where}, ${file}`, error)
  }
  const invalid = (what: string): VarveError => new VarveError('CONFIG_INVALID', `${where}: ${file} ${what}`)
  if (pem.length === 0) throw invalid('is empty')
  if (pem.includes('PRIVATE KEY')) throw invalid('holds a private key: it must hold only the certificate')
  try {
    void new X509Certificate(pem)
  } catch {
    throw invalid('holds no certificate in PEM')
  }
  return pem
}
