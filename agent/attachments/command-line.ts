// A QEMU's command line as a shell takes it, without what is secret in it. Pure.
import { shellQuoted } from '../define/shell-words.ts'

/** Stands where something secret was. */
export const REMOVED = '<removed>'

/** Keys whose values are secrets wherever they stand; not `password=on`, which is none. */
const SECRET_KEYS = 'password|passphrase|passwd|proxy-password|user-password|cookie'

const isOn = (value: string): boolean => /^(?:on|off|yes|no|true|false)$/u.test(value)

/** A value up to the next single comma: ",," is a comma of it. */
const VALUE = '((?:[^,]|,,)*)'

const withoutKeys = (text: string, keys: string): string =>
  text.replaceAll(
    new RegExp(`(^|,)((?:[\\w-]+\\.)*(?:${keys}))=${VALUE}`, 'gu'),
    (whole, before: string, key: string, value: string) => (isOn(value) ? whole : `${before}${key}=${REMOVED}`),
  )

/** Users and passwords of addresses, keys of RBD images, and credentials that are handed to the guest's systemd. */
const withoutValues = (text: string): string =>
  text
    .replaceAll(/([a-z][a-z0-9+.-]*:\/\/)(?:[^/,\s]|,,)*@/giu, `$1${REMOVED}@`)
    .replaceAll(/(rbd:[^,\s]*?:(?:key|password))=[^:,\s]*/gu, `$1=${REMOVED}`)
    .replaceAll(/(io\.systemd\.credential(?:\.binary)?:[^=,]*)=(?:[^,]|,,)*/gu, `$1=${REMOVED}`)
    .replaceAll(/(name=opt\/io\.systemd\.credentials?\/[^,]*,string)=(?:[^,]|,,)*/gu, `$1=${REMOVED}`)

const secretKey = new RegExp(`^(?:[\\w-]+\\.)*(?:${SECRET_KEYS})$`, 'u')

const withoutSecrets = (value: unknown, isSecret: boolean): unknown => {
  if (typeof value === 'string') return withoutValues(value)
  if (Array.isArray(value)) return value.map((one) => withoutSecrets(one, isSecret))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => {
      const hidden = secretKey.test(key) || (isSecret && key === 'data')
      return [key, hidden && typeof one === 'string' && !isOn(one) ? REMOVED : withoutSecrets(one, isSecret)]
    }),
  )
}

/** The value of an option in JSON; null where it is none. */
const jsonOf = (text: string): object | null => {
  if (!text.startsWith('{')) return null
  try {
    return JSON.parse(text) as object
  } catch {
    return null
  }
}

const isSecretObject = (value: object): boolean => 'qom-type' in value && String(value['qom-type']).startsWith('secret')

const cleanValue = (option: string, text: string): string => {
  const json = jsonOf(text)
  const isObject = option === 'object'
  if (json !== null) return JSON.stringify(withoutSecrets(json, isObject && isSecretObject(json)))
  const isSecret = isObject && /^secret|(?:^|,)qom-type=secret/u.test(text)
  return withoutValues(withoutKeys(text, isSecret ? `${SECRET_KEYS}|data` : SECRET_KEYS))
}

/** The arguments without passwords, keys and the data of secrets. */
export const withoutSecretsOf = (args: readonly string[]): string[] =>
  args.map((argument, index) => cleanValue((args[index - 1] ?? '').replace(/^--?/u, ''), argument))

/** The command as a person would write it: a line for each option, secrets removed. */
export const commandText = (args: readonly string[]): string => {
  const lines: string[] = []
  for (const [index, argument] of withoutSecretsOf(args).entries()) {
    if (index === 0 || argument.startsWith('-')) lines.push(shellQuoted(argument))
    else lines[lines.length - 1] += ` ${shellQuoted(argument)}`
  }
  return `${lines.join(' \\\n  ')}\n`
}
