import type { FastifyReply, FastifyRequest } from 'fastify'
import type { BrowserFlows, OwnFlow } from '../flow/browser-flows.ts'
import { sendPage } from '../http/page.ts'
import { asksForPopup, type PopupMessage, type PopupNews } from '../http/popup.ts'
import { readOnce, readQuery } from '../http/query.ts'
import { redirect } from '../http/redirect.ts'
import type { Settings } from '../options/resolve.ts'
import type { Route } from './parts.ts'

/** The parts of the plugin that find the flow of a callback. */
export interface FlowParts {
  flows: BrowserFlows
  settings: Settings
}

/** Tells whether a request is part of a flow in a popup. At the callback, only the verified cookie of the flow counts, not the URL. */
export function isPopup (parts: FlowParts, route: Route, request: FastifyRequest): boolean {
  if (route === 'authorize') return asksForPopup(readQuery(request))
  return route === 'callback' && flowOf(parts, request)?.cookie.popup === true
}

/** Returns the flow of a callback; null if the browser did not send the cookie of the flow. */
export function flowOf ({ flows }: FlowParts, request: FastifyRequest): OwnFlow | null {
  const state = readOnce(readQuery(request), 'state')
  const flow = state === null ? null : flows.recognise(request, state)
  return flow === null || flow.cookie === null ? null : { ...flow, cookie: flow.cookie }
}

/** Makes the message that the page at the end of a popup sends to its opener. */
export function popupNews ({ settings }: FlowParts, outcome: PopupMessage['outcome'], code: string | null): PopupNews {
  return {
    message: { source: 'fastify-webflow-oauth', outcome, ...(code === null ? {} : { code }) },
    origins: settings.popupOrigins
  }
}

/** Answers a callback that has connected the user: by a redirect to `returnTo`, or in a popup by the page that closes itself. */
export function answerConnected (parts: FlowParts, flow: OwnFlow, reply: FastifyReply): FastifyReply {
  const destination = parts.flows.destination(flow)
  if (!flow.cookie.popup) return redirect(reply, destination, 303)
  return sendPage(reply, {
    status: 200,
    title: 'Webflow is connected',
    text: 'You can close this window and go on in the app.',
    link: { href: destination, text: 'Go on' },
    news: popupNews(parts, 'connected', null)
  })
}
