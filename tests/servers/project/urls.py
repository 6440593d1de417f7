"""One path for each scenario; `key` names the connection in the journal."""

from django.urls import path

from tests.servers.project import consumers, fanout

urlpatterns = [
    path("ws/echo/<key>/", consumers.Echo.as_view()),
    path("ws/describe/<key>/", consumers.Describe.as_view()),
    path("ws/empty/<key>/", consumers.EmptyFrames.as_view()),
    path("ws/subprotocol/<key>/", consumers.ChoosesSubprotocol.as_view()),
    path("ws/headers/<key>/", consumers.AcceptsWithHeaders.as_view()),
    path("ws/close/<int:code>/<key>/", consumers.Closes.as_view()),
    path("ws/close-at-once/<key>/", consumers.ClosesAtOnce.as_view()),
    path("ws/closes-in-task/<key>/", consumers.ClosesInTask.as_view()),
    path("ws/reject/<key>/", consumers.Rejects.as_view()),
    path("ws/denied/<key>/", consumers.RaisesPermissionDenied.as_view()),
    path("ws/missing/<key>/", consumers.RaisesHttp404.as_view()),
    path("ws/fails-in-connect/<key>/", consumers.FailsInConnect.as_view()),
    path("ws/fails-in-receive/<key>/", consumers.FailsInReceive.as_view()),
    path("ws/fails-in-disconnect/<key>/", consumers.FailsInDisconnect.as_view()),
    path("ws/fails-in-task/<key>/", consumers.FailsInTask.as_view()),
    path("ws/waits-in-receive/<key>/", consumers.WaitsInReceive.as_view()),
    path("ws/waits-in-disconnect/<key>/", consumers.WaitsInDisconnect.as_view()),
    path("ws/waits-in-task/<key>/", consumers.WaitsInTask.as_view()),
    path("ws/keeps-a-task/<key>/", consumers.KeepsATask.as_view()),
    path("ws/exits/<where>/<key>/", consumers.Exits.as_view()),
    path("ws/sends-to/<who>/<key>/", consumers.SendsToAnother.as_view()),
    path("ws/raises/<where>/<int:which>/<key>/", consumers.Raises.as_view()),
    path("ws/counted/<key>/", consumers.Counted.as_view()),
    path("counts/", consumers.counts),
    path("ws/pushes/<key>/", consumers.Pushes.as_view()),
    path("ws/pours/<int:count>/<int:size>/<key>/", consumers.Pours.as_view()),
    path("ws/takes-its-time/<key>/", consumers.TakesItsTime.as_view()),
    path("ws/says-go/<who>/<key>/", consumers.SaysGo.as_view()),
    path("ws/member/<group>/<key>/", consumers.Member.as_view()),
    path("ws/fanout/plain/<group>/<key>/", fanout.Listens.as_view()),
    path("ws/fanout/wrapped/<group>/<key>/", fanout.Listens.as_view()),
    path("ws/fanout/hears/<group>/<key>/", fanout.Hears.as_view()),
    path("ws/fanout/answers/<group>/<key>/", fanout.Answers.as_view()),
    path("publish/<group>/<int:count>/<int:size>/", fanout.publish),
    path("plain/<key>/", consumers.plain_view),
]
