{{- /* (dict "root" $ "component" "gateway" "most" 3): a budget, where there is more than one pod to have it. */ -}}
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

{{- /* A Deployment of a service without a state of its own; the same dict as metrion.pod, and "replicas". */ -}}
{{- define "metrion.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "metrion.fullname" .root }}-{{ .component }}
  labels:
    {{- include "metrion.labels" . | nindent 4 }}
spec:
  {{- if .replicas }}
  replicas: {{ .replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  minReadySeconds: {{ .minReady | default 0 }}
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 25%}
  selector:
    matchLabels:
      {{- include "metrion.selector" . | nindent 6 }}
  template:
    {{- include "metrion.pod" . | nindent 4 }}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway" "port" 9080): the operations port, for whoever reads metrics. */ -}}
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
  publishNotReadyAddresses: true  # a pod that is not ready is the one to look at
  selector:
    {{- include "metrion.selector" . | nindent 4 }}
  ports:
    - {name: ops, port: {{ .port }}, targetPort: ops}
{{- end -}}

{{- /* (dict "root" $ "component" "gateway"): the HTTPRoute and Ingress of a service that people or applications call. */ -}}
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
      timeouts: {request: 0s, backendRequest: 0s}  # none: a stream may take minutes, and the gateway has limits of its own
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
    {{- if eq .component "gateway" }}
    # For controllers of nginx's kind: nothing is buffered, no upload is too large, nothing is cut while a provider thinks.
    nginx.ingress.kubernetes.io/proxy-buffering: "off"
    nginx.ingress.kubernetes.io/proxy-request-buffering: "off"
    nginx.ingress.kubernetes.io/proxy-body-size: "0"
    nginx.ingress.kubernetes.io/proxy-read-timeout: "3600"
    nginx.ingress.kubernetes.io/proxy-send-timeout: "3600"
    nginx.ingress.kubernetes.io/proxy-next-upstream: "off"
    {{- end }}
    {{- with $values.ingress.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
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

{{- /* (dict "root" $ "component" "gateway" "port" 8080): the service that others call. */ -}}
{{- define "metrion.service" -}}
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
  selector:
    {{- include "metrion.selector" . | nindent 4 }}
  ports:
    - {name: http, port: {{ $values.port }}, targetPort: http, appProtocol: http}
{{- end -}}
