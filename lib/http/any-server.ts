import type { FastifyReply, FastifyRequest, RouteGenericInterface } from 'fastify'
import type { Http2SecureServer, Http2Server } from 'node:http2'

/** A request of any kind of server: to Fastify's types one of HTTP/2 is another thing. */
export type AnyRequest =
  | FastifyRequest
  | FastifyRequest<RouteGenericInterface, Http2Server>
  | FastifyRequest<RouteGenericInterface, Http2SecureServer>

/** A reply of any kind of server. */
export type AnyReply =
  | FastifyReply
  | FastifyReply<RouteGenericInterface, Http2Server>
  | FastifyReply<RouteGenericInterface, Http2SecureServer>
