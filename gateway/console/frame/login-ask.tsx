// The question whether a sign-in link that was opened in this tab may end the session that is open here.
import { Ask } from '../parts/dialog.tsx'
import { frame } from '../texts/frame.ts'
import { link } from './console.ts'
import { loginCode } from './router.ts'

const texts = frame.byLink

export const LoginAsk = () => {
  const code = loginCode.value
  const person = link.person.value
  if (code === null || person === null) return null
  return (
    <Ask
      title={texts.title}
      action={texts.action}
      onYes={() => link.signIn({ code }, true)}
      onClose={() => (loginCode.value = null)}
    >
      <p>{texts.ends(person.subject)}</p>
    </Ask>
  )
}
