import type { FastifyReply, FastifyRequest } from 'fastify'
import { diagnostics, ownCode } from '../diagnostics.ts'
import { WebflowOAuthError } from '../errors.ts'
import { restoreError } from '../flow/outcome.ts'
import { readOnce, readQuery } from '../http/query.ts'
import { checkCallback, type Checked, type Repeated } from './callback-checks.ts'
import { finishFlow } from './callback-finish.ts'
import type { Parts } from './parts.ts'
import { answerConnected } from './popup.ts'

/** Answers the browser that comes back from Webflow. The first callback of a flow finishes the flow; a repeated one gets the same answer again. */
export async function callback (parts: Parts, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const calledAt = performance.now()
  const publishFailure = (error: unknown): never => {
    publishEnd(parts, request, calledAt, error)
    throw error
  }
  const checked: Checked = await checkCallback(parts, request, reply).catch(publishFailure)
  switch (checked.kind) {
    case 'answered': return checked.reply
    case 'repeated': return repeatAnswer(parts, checked, reply)
    case 'claimed': {
      const answer = await parts.background.add(finishFlow(parts, checked, request, reply)).catch(publishFailure)
      publishEnd(parts, request, calledAt, null)
      return answer
    }
  }
}

/** Answers a repeated callback as the first one was answered. */
function repeatAnswer (parts: Parts, { attempt: { flow }, outcome, endedAt, sessionId }: Repeated, reply: FastifyReply): FastifyReply {
  const { cookies, flows } = parts
  flows.end(reply, flow, endedAt)
  if (outcome.kind === 'failed') throw restoreError(outcome)
  if (sessionId !== null) cookies.setSession(reply, sessionId)
  return answerConnected(parts, flow, reply)
}

/** Publishes on the diagnostics channel that a flow has ended or that its callback was refused. */
function publishEnd ({ flows, settings }: Parts, request: FastifyRequest, calledAt: number, error: unknown): void {
  if (!diagnostics.flowEnd.hasSubscribers) return
  const state = readOnce(readQuery(request), 'state')
  const cookie = state === null ? null : flows.recognise(request, state)?.cookie ?? null
  diagnostics.flowEnd.publish({
    clientId: settings.clientId,
    outcome: error === null ? 'connected' : 'failed',
    code: ownCode(error),
    reason: error instanceof WebflowOAuthError ? error.reason ?? null : null,
    duration: performance.now() - calledAt,
    elapsed: cookie === null ? null : Date.now() - cookie.startedAt
  })
}
