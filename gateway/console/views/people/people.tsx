// The view People and things: who and what belongs to a tenant, or to the platform; one part at a time.
import type { ComponentType } from 'preact'
import type { MethodName } from '../../../../protocol/methods.ts'
import { link } from '../../frame/console.ts'
import { to } from '../../frame/route.ts'
import { route } from '../../frame/router.ts'
import { Empty } from '../../parts/basics.tsx'
import { people as texts } from '../../texts/people.ts'
import { views as names } from '../../texts/views.ts'
import { Agents } from './agents.tsx'
import { Audit } from './audit.tsx'
import { Enrol } from './enrol.tsx'
import { Notifications } from './notifications.tsx'
import { Tenants } from './tenants.tsx'
import { Tokens } from './tokens.tsx'

interface Part {
  readonly name: keyof (typeof texts)['names']
  /** It is for those who may call this method. */
  readonly needs: MethodName
  readonly component: ComponentType
}

const PARTS: readonly Part[] = [
  { name: 'tenants', needs: 'tenants.list', component: Tenants },
  { name: 'agents', needs: 'agents.list', component: Agents },
  { name: 'enrol', needs: 'enrolments.issue', component: Enrol },
  { name: 'tokens', needs: 'tokens.list', component: Tokens },
  { name: 'notifications', needs: 'notify.targets', component: Notifications },
  { name: 'audit', needs: 'audit.list', component: Audit },
]

export const People = () => {
  const parts = PARTS.filter(({ needs }) => link.may(needs))
  const [asked] = route.value.path
  const shown = asked === undefined ? parts[0] : parts.find(({ name }) => name === asked)
  const Component = shown?.component
  return (
    <div class="people fills">
      <h1 class="hidden">
        {names.people}
        {shown === undefined ? null : `: ${texts.names[shown.name]}`}
      </h1>
      <nav class="parts" aria-label={texts.parts}>
        {parts.map(({ name }) => (
          <a key={name} href={to('people', [name])} aria-current={name === shown?.name ? 'page' : undefined}>
            {texts.names[name]}
          </a>
        ))}
      </nav>
      {Component === undefined ? (
        <Empty title={texts.noSuch}>
          <a href={to('people')}>{texts.toFirst}</a>
        </Empty>
      ) : (
        <Component key={shown?.name} />
      )}
    </div>
  )
}
