{{- /* (dict "root" $ "component" "gateway" "most" 3): a disruption budget, if the workload has more than one pod. */ -}}
{{- define "metrion.pdb" -}}
{{- if gt (int .most) 1 }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "metrion.fullname" .root }}-{{ .component }}
  labels:
    {{- include "metrion.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ (index .root.Values .component).pdb.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "metrion.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{- /*
A Deployment. Takes the dict of metrion.pod, plus "replicas" (a number), "autoscaled" (true if an autoscaler owns them) and "other"
(the kind that served before a switch, or "").
*/ -}}
{{- define "metrion.deployment" -}}
{{- $values := index .root.Values .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "metrion.workloadMetadata" . | nindent 2 }}
spec:
  {{- include "metrion.replicas" (merge (dict "kind" "Deployment") .) | nindent 2 }}
  revisionHistoryLimit: 5
  minReadySeconds: {{ .minReady | default 0 }}
  strategy:
    {{- toYaml ($values.strategy | default (dict "rollingUpdate" (dict "maxUnavailable" 0 "maxSurge" "25%"))) | nindent 4 }}
  selector:
    matchLabels:
      {{- include "metrion.selector" . | nindent 6 }}
  template:
    {{- include "metrion.pod" . | nindent 4 }}
{{- end -}}

{{- define "metrion.workloadMetadata" -}}
name: {{ include "metrion.fullname" .root }}-{{ .component }}
labels:
  {{- include "metrion.labels" (dict "root" .root "component" .component) | nindent 2 }}
{{- with (index .root.Values .component).annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /*
`replicas` of a workload. If an autoscaler owns them, the current number in the cluster, because a field that an upgrade omits would
be reset to 1; without a cluster (helm template) the field is omitted. "previous": for a workload that a switch replaces, which keeps
its number.
*/ -}}
{{- define "metrion.replicas" -}}
{{- $live := dict -}}
{{- if or .autoscaled .previous -}}
{{- $live = include "metrion.live" . | fromJson -}}
{{- if and (not $live) .other -}}{{- $live = include "metrion.live" (merge (dict "kind" .other) .) | fromJson -}}{{- end -}}
{{- end -}}
{{- if hasKey ($live.spec | default dict) "replicas" -}}
replicas: {{ $live.spec.replicas }}
{{- else if not .autoscaled -}}
replicas: {{ .replicas }}
{{- end -}}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway" "kind" "Deployment"): the object of this name in the cluster, as JSON; {} if there is none. */ -}}
{{- define "metrion.live" -}}
{{- $name := printf "%s-%s" (include "metrion.fullname" .root) .component -}}
{{- lookup "apps/v1" .kind .root.Release.Namespace $name | default dict | toJson -}}
{{- end -}}

{{- /*
(dict "root" $ "component" "gateway" "kind" "StatefulSet" "other" "Deployment"): "true" while the workload of the other kind has
to stay beside this one, because pods of this one are not ready yet.
*/ -}}
{{- define "metrion.keepsOther" -}}
{{- $keep := .root.Values.gateway.spool.persistence.keepPrevious -}}
{{- if eq $keep "always" -}}
true
{{- else if eq $keep "auto" -}}
{{- $other := include "metrion.live" (dict "root" .root "component" .component "kind" .other) | fromJson -}}
{{- if and $other (not (dig "metadata" "deletionTimestamp" "" $other)) -}}
{{- $own := include "metrion.live" . | fromJson -}}
{{- $wanted := int (dig "spec" "replicas" 0 $own) -}}
{{- $ready := int (dig "status" "readyReplicas" 0 $own) -}}
{{- if or (lt $ready 1) (lt $ready $wanted) -}}true{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway" "port" 9080): the headless Service of the operations port. */ -}}
{{- define "metrion.operations" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "metrion.fullname" .root }}-{{ .component }}-ops
  labels:
    {{- include "metrion.labels" . | nindent 4 }}
    metrion/operations: "true"
spec:
  clusterIP: None
  publishNotReadyAddresses: true  # metrics matter most for pods that are not ready
  selector:
    {{- include "metrion.selector" . | nindent 4 }}
  ports:
    - {name: ops, port: {{ .port }}, targetPort: ops}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway"): the HTTPRoute and Ingress of the gateway or dashboard. */ -}}
{{- define "metrion.edge" -}}
{{- $values := index .root.Values .component -}}
{{- $name := printf "%s-%s" (include "metrion.fullname" .root) .component -}}
{{- if $values.route.enabled }}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ $name }}
  labels:
    {{- include "metrion.labels" . | nindent 4 }}
spec:
  parentRefs:
    {{- toYaml $values.route.parentRefs | nindent 4 }}
  {{- with $values.route.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches: [{path: {type: PathPrefix, value: /}}]
      {{- if eq .component "gateway" }}
      timeouts: {request: 0s, backendRequest: 0s}  # disabled: a stream may take minutes, and the gateway has its own limits
      {{- end }}
      backendRefs:
        - {name: {{ $name }}, port: {{ $values.service.port }}}
{{- end }}
{{- if $values.ingress.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ $name }}
  labels:
    {{- include "metrion.labels" . | nindent 4 }}
  annotations:
    {{- $defaults := dict }}
    {{- if eq .component "gateway" }}
    {{- /* For nginx controllers: no buffering, no upload limit, no timeout while a provider is thinking. */}}
    {{- $defaults = dict "proxy-buffering" "off" "proxy-request-buffering" "off" "proxy-body-size" "0" "proxy-read-timeout" "3600" "proxy-send-timeout" "3600" "proxy-next-upstream" "off" }}
    {{- end }}
    {{- $prefixed := dict }}
    {{- range $name, $value := $defaults }}{{- $_ := set $prefixed (printf "nginx.ingress.kubernetes.io/%s" $name) $value }}{{- end }}
    {{- include "metrion.merged" (list $prefixed $values.ingress.annotations) | nindent 4 }}
spec:
  {{- with $values.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
    {{- range $values.ingress.hosts }}
    - host: {{ . | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service: {name: {{ $name }}, port: {number: {{ $values.service.port }}}}
    {{- end }}
  {{- with $values.ingress.tls }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway"): the Service of the gateway or dashboard. */ -}}
{{- define "metrion.service" -}}
{{- include "metrion.patched" (dict "object" (include "metrion.serviceObject" .) "patch" (index .root.Values .component).service.patch) -}}
{{- end -}}

{{- define "metrion.serviceObject" -}}
{{- $values := (index .root.Values .component).service -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "metrion.fullname" .root }}-{{ .component }}
  labels:
    {{- include "metrion.labels" . | nindent 4 }}
  {{- with $values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $values.type }}
  {{- with $values.loadBalancerClass }}
  loadBalancerClass: {{ . }}
  {{- end }}
  selector:
    {{- include "metrion.selector" . | nindent 4 }}
  ports:
    - {name: http, port: {{ $values.port }}, targetPort: http, appProtocol: http}
{{- end -}}
