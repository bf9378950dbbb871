// What a form says of a new target, as the gateway takes it. Pure.
import type { TargetSecrets, TargetSettings } from '../../../../protocol/notify.ts'

/** The fields of the form as they were written; those of other kinds are ignored. */
export interface TargetForm {
  readonly kind: TargetSettings['kind']
  readonly host: string
  readonly port: string
  readonly security: 'starttls' | 'tls' | 'none'
  readonly user: string
  readonly password: string
  readonly from: string
  readonly to: string
  readonly url: string
  readonly topic: string
  readonly token: string
}

export const EMPTY_FORM: TargetForm = {
  kind: 'smtp',
  host: '',
  port: '587',
  security: 'starttls',
  user: '',
  password: '',
  from: '',
  to: '',
  url: '',
  topic: '',
  token: '',
}

const NTFY_PRIORITIES = { info: 2, warning: 3, error: 4 }
const GOTIFY_PRIORITIES = { info: 2, warning: 5, error: 8 }

const given = (text: string): string | null => (text.trim() === '' ? null : text.trim())

export const settingsOfForm = (form: TargetForm): { settings: TargetSettings; secrets: TargetSecrets } => {
  const common = { insecure: false, authority: null }
  const token = form.token.trim() === '' ? {} : { token: form.token.trim() }
  switch (form.kind) {
    case 'smtp': {
      const { kind, host, security, from } = form
      const to = form.to.split(/[\s,;]+/u).filter((address) => address !== '')
      const settings = { kind, host: host.trim(), port: Number(form.port), security, user: given(form.user) }
      // a password keeps its spaces
      const secrets = form.password === '' ? {} : { password: form.password }
      return { settings: { ...settings, ...common, from: from.trim(), to }, secrets }
    }
    case 'webhook':
      return { settings: { kind: form.kind, ...common, template: null }, secrets: { url: form.url.trim() } }
    case 'ntfy': {
      const settings = { kind: form.kind, ...common, url: form.url.trim(), topic: form.topic.trim() }
      return { settings: { ...settings, priorities: NTFY_PRIORITIES }, secrets: token }
    }
    case 'gotify':
      return {
        settings: { kind: form.kind, ...common, url: form.url.trim(), priorities: GOTIFY_PRIORITIES },
        secrets: token,
      }
  }
}
