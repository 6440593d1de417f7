from django.contrib.auth.decorators import login_required
from django.http import JsonResponse
from django.views.decorators.http import require_POST

from .models import Job
from .tasks import run


@login_required
@require_POST
def start(request):
    job = Job.objects.create(owner=request.user, total=100)
    run.delay_on_commit(job.pk)
    return JsonResponse({"socket": f"/ws/jobs/{job.pk}/"})
